using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Numerics;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Hub.Features.SshKeys;

/// <summary>
/// A public key, read from one line of an authorized_keys file and checked down to the last byte of its wire format
/// (RFC 4251, 4253, 5656, 8709; OpenSSH's PROTOCOL.u2f). A key that passes is accepted by sshd; every rejection states
/// its reason.
/// </summary>
/// <param name="Type">Such as <c>ssh-ed25519</c>.</param>
/// <param name="Key">The base64 part.</param>
/// <param name="Comment">The text after the key, possibly empty.</param>
/// <param name="Fingerprint">As <c>ssh-keygen -l</c> prints it: <c>SHA256:</c> and unpadded base64.</param>
public sealed record SshKey(string Type, string Key, string Comment, string Fingerprint)
{
    /// <summary>Maximum input length; an RSA key of 16384 bits takes 2.8 kB.</summary>
    public const int MaxChars = 16 * 1024;

    public const int MinRsaBits = 2048, MaxRsaBits = 16384;

    const string CertificateSuffix = "-cert-v01@openssh.com";

    static readonly string[] Types =
    [
        "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa",
        "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
    ];

    /// <summary>One line for an authorized_keys file, without the comment.</summary>
    public string Line => $"{Type} {Key}";

    public static Outcome<SshKey> Parse(string? text)
    {
        if (RefuseText(text ?? "") is { } problem)
            return problem;
        var words = text!.Trim().Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        if (RefuseType(words) is { } wrongType)
            return wrongType;
        if (words.Length < 2)
            return Invalid("This is only the beginning of a key. Copy the whole line.");
        var blob = new byte[words[1].Length];
        if (!Convert.TryFromBase64String(words[1], blob, out var length) || length == 0)
            return Invalid("The middle part of the key is not valid base64; a piece of it is probably missing. Copy "
                + "the whole line.");
        Array.Resize(ref blob, length);
        if (RefuseBlob(words[0], blob) is { } wrongBlob)
            return wrongBlob;
        return new SshKey(words[0], Convert.ToBase64String(blob), string.Join(' ', words[2..]), FingerprintOf(blob));
    }

    /// <summary>SHA-256 of a key's blob, as OpenSSH prints it since 6.8.</summary>
    public static string FingerprintOf(byte[] blob) =>
        "SHA256:" + Convert.ToBase64String(SHA256.HashData(blob)).TrimEnd('=');

    static Problem? RefuseText(string text)
    {
        if (string.IsNullOrWhiteSpace(text))
            return Invalid("Paste a public key, the one line from a file that ends in .pub.");
        if (text.Contains("PRIVATE KEY", StringComparison.OrdinalIgnoreCase)
            || text.Contains("PuTTY-User-Key-File", StringComparison.OrdinalIgnoreCase))
            return Invalid("This is a private key, which only you may see. We did not store it, but treat it as "
                + "leaked: create a new pair, and remove the old one from every machine. Then paste the file that ends "
                + "in .pub.");
        if (text.Length > MaxChars)
            return Invalid("This is too long for a public key.");
        if (text.Contains("---- BEGIN", StringComparison.Ordinal)
            || text.Contains("-----BEGIN", StringComparison.Ordinal))
            return Invalid("This is a public key in another format. Convert it with: ssh-keygen -i -f FILE (with -m "
                + "PKCS8 for a PEM file).");
        var line = text.Trim();
        if (line.AsSpan().ContainsAny('\r', '\n'))
            return Invalid("This is more than one line. Add one key at a time, and paste a key as one line.");
        return line.Any(c => char.IsControl(c) && c != '\t')
            ? Invalid("There is a control character in the key. Copy it again.")
            : null;
    }

    static Problem? RefuseType(string[] words)
    {
        if (Types.Contains(words[0], StringComparer.Ordinal))
            return null;
        if (words[0].EndsWith(CertificateSuffix, StringComparison.Ordinal))
            return Invalid("This is a certificate. Paste the public key it was issued for.");
        if (words[0] == "ssh-dss")
            return Invalid(
                "This is a DSA key, which OpenSSH no longer accepts. Create an Ed25519 key: ssh-keygen -t ed25519");
        if (words.Skip(1).Any(w => Types.Contains(w, StringComparer.Ordinal) || w == "ssh-dss"))
            return Invalid(
                "There are options before the key type. Leave them out, so that the line begins with the type.");
        if (words[0].StartsWith("AAAA", StringComparison.Ordinal))
            return Invalid("The type in front of the key is missing. Copy the whole line, beginning with ssh-ed25519 "
                + "or the like.");
        return Invalid("This does not begin with a type of key that works here: Ed25519, ECDSA or RSA, on disk or on a "
            + "security key.");
    }

    static Problem? RefuseBlob(string type, ReadOnlySpan<byte> blob)
    {
        var reader = new WireReader(blob);
        if (!reader.TryText(out var inner))
            return CutOff;
        if (inner != type)
            return Invalid($"The line says {type}, but the key inside is of another type.");
        var problem = type switch
        {
            "ssh-ed25519" => RefuseEd25519(ref reader),
            "ssh-rsa" => RefuseRsa(ref reader),
            "ecdsa-sha2-nistp256" => RefuseEcdsa(ref reader, "nistp256", 32, ECCurve.NamedCurves.nistP256),
            "ecdsa-sha2-nistp384" => RefuseEcdsa(ref reader, "nistp384", 48, ECCurve.NamedCurves.nistP384),
            "ecdsa-sha2-nistp521" => RefuseEcdsa(ref reader, "nistp521", 66, ECCurve.NamedCurves.nistP521),
            "sk-ssh-ed25519@openssh.com" => RefuseEd25519(ref reader) ?? RefuseApplication(ref reader),
            _ => RefuseEcdsa(ref reader, "nistp256", 32, ECCurve.NamedCurves.nistP256) ?? RefuseApplication(ref reader),
        };
        return problem
            ?? (reader.AtEnd ? null : Invalid("There is extra data after the end of the key. Copy it again."));
    }

    static Problem CutOff => Invalid("The key is cut off. Copy the whole line.");

    static Problem? RefuseEd25519(ref WireReader reader) =>
        !reader.TryString(out var point)
            ? CutOff
            : point.Length == 32 ? null : Invalid("An Ed25519 key has 32 bytes; this one does not.");

    static Problem? RefuseApplication(ref WireReader reader) =>
        !reader.TryString(out var application) ? CutOff
        : application.Length > 0
            ? null
            : Invalid("The key does not name the application of the security key.");

    static Problem? RefuseRsa(ref WireReader reader)
    {
        if (!reader.TryString(out var exponent) || !reader.TryString(out var modulus))
            return CutOff;
        if (!IsPositive(exponent) || !IsPositive(modulus))
            return Invalid("The numbers in this RSA key are not encoded correctly.");
        var e = new BigInteger(exponent, isUnsigned: true, isBigEndian: true);
        var n = new BigInteger(modulus, isUnsigned: true, isBigEndian: true);
        var bits = n.GetBitLength();
        if (bits is < MinRsaBits or > MaxRsaBits)
            return Invalid($"This RSA key has {bits} bits. It must have {MinRsaBits} to {MaxRsaBits}; or make an "
                + "Ed25519 key: ssh-keygen -t ed25519");
        return e.IsEven || e < 3 || n.IsEven || e >= n
            ? Invalid("The numbers in this RSA key cannot be those of a working key.")
            : null;
    }

    /// <summary>An mpint above zero in its shortest form (RFC 4251, section 5).</summary>
    static bool IsPositive(ReadOnlySpan<byte> number) => number is [> 0 and < 0x80, ..] or [0, >= 0x80, ..];

    static Problem? RefuseEcdsa(ref WireReader reader, string curveName, int fieldBytes, ECCurve curve)
    {
        if (!reader.TryText(out var name) || !reader.TryString(out var point))
            return CutOff;
        if (name != curveName)
            return Invalid("The curve named inside the key is not the one of its type.");
        if (point.Length != 1 + 2 * fieldBytes || point[0] != 4)
            return Invalid("The point in this ECDSA key does not have the length and form of its curve.");
        try
        {
            using var key = ECDsa.Create(new ECParameters
            {
                Curve = curve,
                Q = new ECPoint { X = point[1..(1 + fieldBytes)].ToArray(), Y = point[(1 + fieldBytes)..].ToArray() },
            });
            return null;
        }
        catch (CryptographicException)
        {
            return Invalid("The point in this ECDSA key does not lie on its curve.");
        }
    }

    /// <summary>Whether a text is or contains a private key, which must not be shown in the response.</summary>
    public static bool LooksPrivate(string? text) =>
        text?.Contains("PRIVATE", StringComparison.OrdinalIgnoreCase) == true
            || text?.StartsWith("PuTTY-User-Key", StringComparison.OrdinalIgnoreCase) == true;

    static Problem Invalid(string message) => new(ProblemKind.Invalid, message);

    /// <summary>Reads strings as RFC 4251 encodes them: four bytes of length, then the bytes.</summary>
    ref struct WireReader(ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<byte> rest = bytes;

        public readonly bool AtEnd => rest.IsEmpty;

        public bool TryString(out ReadOnlySpan<byte> value)
        {
            value = default;
            if (!BinaryPrimitives.TryReadUInt32BigEndian(rest, out var length) || length > (uint)(rest.Length - 4))
                return false;
            value = rest.Slice(4, (int)length);
            rest = rest[(4 + (int)length)..];
            return true;
        }

        public bool TryText([NotNullWhen(true)] out string? text)
        {
            text = TryString(out var value) ? Encoding.Latin1.GetString(value) : null;
            return text is not null;
        }
    }
}
