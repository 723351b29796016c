using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>
/// The header Stripe-Signature: <c>t=SECONDS,v1=HEX</c>, where HEX is the HMAC-SHA256 of "SECONDS.BODY" under the
/// secret of the webhook. There may be several v1 while a secret is being replaced.
/// (https://docs.stripe.com/webhooks#verify-manually)
/// </summary>
public static class StripeSignature
{
    public const string Header = "Stripe-Signature";

    /// <summary>An older event may be somebody's recording of one.</summary>
    public static readonly TimeSpan Tolerance = TimeSpan.FromMinutes(5);

    const int MaxHeaderChars = 2000;

    /// <summary>Null: the event is Stripe's, and of now.</summary>
    public static Problem? Check(string? header, ReadOnlySpan<byte> body, string secret, DateTime now)
    {
        if (string.IsNullOrEmpty(header) || header.Length > MaxHeaderChars)
            return Refuse("It has no signature.");
        var parts = header.Split(',').Select(p => p.Split('=', 2)).Where(p => p.Length == 2)
            .Select(p => (Name: p[0].Trim(), Value: p[1].Trim())).ToList();
        if (!long.TryParse(parts.Find(p => p.Name == "t").Value, NumberStyles.None, CultureInfo.InvariantCulture,
            out var seconds))
            return Refuse("Its signature has no time.");
        var expected = Encoding.ASCII.GetBytes(Make(secret, seconds, body));
        // All of them are compared, in the same time whatever is wrong with them.
        var right = false;
        foreach (var (name, value) in parts)
            right |= name == "v1" && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(value), expected);
        if (!right) return Refuse("Its signature is wrong.");
        var age = Math.Abs(new DateTimeOffset(now, TimeSpan.Zero).ToUnixTimeSeconds() - (decimal)seconds);
        return age > (decimal)Tolerance.TotalSeconds
            ? Refuse("Its signature is too old, or of the future. Check the clock of this machine.") : null;
    }

    /// <summary>The v1 of a body.</summary>
    public static string Make(string secret, long seconds, ReadOnlySpan<byte> body)
    {
        var start = Encoding.ASCII.GetBytes(seconds.ToString(CultureInfo.InvariantCulture) + ".");
        byte[] signed = [.. start, .. body];
        return Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), signed));
    }

    static Problem Refuse(string why) => new(ProblemKind.Forbidden, why);
}
