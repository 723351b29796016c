using System.Buffers.Text;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Capsul.Wire;

/// <summary>
/// What an operator copies from the Hub to a new host: the Hub's address, the fingerprint of its certificate authority,
/// and a single-use secret. As text <c>capsul-join.ADDRESS.FINGERPRINT.SECRET</c>, the address in base64url, the
/// fingerprint as 64 hex digits.
/// </summary>
public sealed record JoinToken(string Address, string Fingerprint, string Secret)
{
    const string Prefix = "capsul-join";

    public static JoinToken Make(string address, string fingerprint) =>
        new(address, fingerprint, Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(24)));

    /// <summary>Null when it is not a join token.</summary>
    public static JoinToken? Parse(string text)
    {
        if (text.Trim().Split('.') is not [Prefix, var address, { Length: 64 } fingerprint, { Length: > 0 } secret]
            || !Base64Url.IsValid(address))
            return null;
        var where = Encoding.UTF8.GetString(Base64Url.DecodeFromChars(address));
        return IsAddress(where) ? new JoinToken(where, fingerprint, secret) : null;
    }

    /// <summary>Whether a text is HOST:PORT and nothing else.</summary>
    public static bool IsAddress(string text) =>
        Uri.TryCreate($"https://{text}/", UriKind.Absolute, out var uri)
        && uri is { Host.Length: > 0, AbsolutePath: "/", Query: "", Fragment: "", UserInfo: "" }
        && ushort.TryParse(text.AsSpan(text.LastIndexOf(':') + 1), NumberStyles.None,
            CultureInfo.InvariantCulture, out var port) && port > 0;

    /// <summary>What the Hub stores: SHA-256 of the secret.</summary>
    public static byte[] Hash(string secret) => SHA256.HashData(Encoding.UTF8.GetBytes(secret));

    public override string ToString() =>
        $"{Prefix}.{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(Address))}.{Fingerprint}.{Secret}";
}
