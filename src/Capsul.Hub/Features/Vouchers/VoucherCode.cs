using System.Security.Cryptography;
using System.Text;

namespace Capsul.Hub.Features.Vouchers;

/// <summary>
/// The code of a voucher: twenty of 31 characters, of which none looks like another: 99 bits, so that nobody guesses
/// one. Only its SHA-256 is kept.
/// </summary>
public static class VoucherCode
{
    /// <summary>Without 0 and 1, I, L and O.</summary>
    const string Alphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";

    public const int Length = 20;

    const int GroupChars = 5, HintChars = 4;

    public static string Make() => RandomNumberGenerator.GetString(Alphabet, Length);

    /// <summary>As people see it, in groups.</summary>
    public static string Shown(string code) => string.Join('-', code.Chunk(GroupChars).Select(c => new string(c)));

    /// <summary>How it begins: with that an operator finds it in the list.</summary>
    public static string Hint(string code) => code[..HintChars];

    public static byte[] Hash(string code) => SHA256.HashData(Encoding.ASCII.GetBytes("capsul voucher " + code));

    /// <summary>What somebody typed, in any case and with any spaces and hyphens; null: it is no code.</summary>
    public static string? Parse(string? text)
    {
        if (text is null or { Length: > 100 }) return null;
        var code = new string([.. text.Where(c => !char.IsWhiteSpace(c) && c != '-').Select(char.ToUpperInvariant)]);
        return code.Length == Length && code.All(c => Alphabet.Contains(c, StringComparison.Ordinal)) ? code : null;
    }
}
