using System.Security.Cryptography;
using System.Text;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// What people write on a bank transfer so that it is known whose it is: seven random characters and one that checks
/// them. No character looks like another; one that is wrong, or two neighbors exchanged, are always noticed, because
/// the weights differ modulo a prime.
/// </summary>
public static class ReferenceCode
{
    /// <summary>31 characters, a prime: without 0 and 1, I, L and O.</summary>
    const string Alphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ";

    const int Length = 8;

    public static string Make()
    {
        var code = RandomNumberGenerator.GetString(Alphabet, Length - 1);
        return code + Check(code);
    }

    static char Check(string code)
    {
        var sum = 0;
        for (var n = 0; n < Length - 1; n++) sum += (n + 2) * Alphabet.IndexOf(code[n], StringComparison.Ordinal);
        return Alphabet[sum % Alphabet.Length];
    }

    static bool IsCode(string text) => text.Length == Length
        && text.All(c => Alphabet.Contains(c, StringComparison.Ordinal)) && Check(text[..^1]) == text[^1];

    /// <summary>As people see it.</summary>
    public static string Shown(string code) => $"{code[..4]}-{code[4..]}";

    /// <summary>
    /// Every code that a bank's text contains, wherever the bank has put spaces, hyphens and line ends into it.
    /// </summary>
    public static IReadOnlyList<string> FindAll(string text)
    {
        var plain = new StringBuilder();
        foreach (var c in text)
            if (char.IsAsciiLetterOrDigit(c)) plain.Append(char.ToUpperInvariant(c));
        var found = new List<string>();
        for (var n = 0; n + Length <= plain.Length; n++)
        {
            var part = plain.ToString(n, Length);
            if (IsCode(part) && !found.Contains(part, StringComparer.Ordinal)) found.Add(part);
        }
        return found;
    }

    /// <summary>The code of an account, which gets one if it has none.</summary>
    public static async Task<string> OfAsync(Db db, string email, CancellationToken cancel)
    {
        while (true)
        {
            if (await db.FindAsync<string>(AccountReferenceSql.Find, new { email }, cancel) is { } code) return code;
            await db.ExecuteAsync(AccountReferenceSql.Add, new { email, code = Make() }, cancel);
        }
    }
}
