using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Hub.Features.Payments.Bank;

/// <summary>Money that has arrived, as a bank's file says.</summary>
/// <param name="Reference">The bank's own of this entry, with the account's; null: it gives none.</param>
/// <param name="Amount">More than 0.</param>
/// <param name="Message">What the payer wrote.</param>
public sealed record BankEntry(
    string? Reference, DateOnly Booked, decimal Amount, string Currency, string Payer, string Message);

/// <summary>A file of a bank.</summary>
/// <param name="Passed">
/// Entries that are no money that has arrived: outgoing, reversed, not booked yet, or of nothing.
/// </param>
public sealed record BankFile(IReadOnlyList<BankEntry> Entries, int Passed)
{
    /// <summary>Bytes; a year of a co-op's bank account is smaller.</summary>
    public const int MaxBytes = 4 << 20;

    const int MaxChars = 500;

    /// <summary>No amount is that much, in any currency.</summary>
    public const decimal TooMuch = 10_000_000_000;

    /// <summary>Banks did not write such files before.</summary>
    const int FirstYear = 1970;

    /// <summary>Reads CAMT.053, or CSV.</summary>
    public static Outcome<BankFile> Read(byte[] file)
    {
        if (file.Length > MaxBytes)
            return Wrong($"A file has at most {MaxBytes >> 20} MiB.");
        var start = Encoding.UTF8.GetString(file.AsSpan(0, Math.Min(file.Length, 200)))
            .TrimStart('\uFEFF', ' ', '\n', '\r');
        return start.StartsWith('<') ? CamtFile.Read(file) : CsvFile.Read(file);
    }

    /// <summary>
    /// What tells each entry from all others, for good: the bank's reference, or a hash of what it says. Entries of one
    /// file that say the same are numbered.
    /// </summary>
    public IEnumerable<(string Id, BankEntry Entry)> Identified()
    {
        var seen = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var entry in Entries)
        {
            var id = entry.Reference ?? "hash:" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(
                string.Create(CultureInfo.InvariantCulture,
                    $"{entry.Booked:yyyy-MM-dd}\n{entry.Amount:0.00}\n{entry.Payer}\n{entry.Message}"))));
            var again = seen[id] = seen.GetValueOrDefault(id) + 1;
            yield return (again == 1 ? id : string.Create(CultureInfo.InvariantCulture, $"{id}#{again}"), entry);
        }
    }

    /// <summary>A day; null: it is none, or one that cannot be meant.</summary>
    public static DateOnly? DayOf(string text, params string[] formats) => DateOnly.TryParseExact(
        text, formats, CultureInfo.InvariantCulture, DateTimeStyles.None, out var day) && day.Year >= FirstYear
        ? day : null;

    /// <summary>On one line, without control characters, and not endless.</summary>
    public static string Plain(string? text)
    {
        var words = string.Join(' ', new string([.. (text ?? "").Select(c => char.IsControl(c) ? ' ' : c)])
            .Split(' ', StringSplitOptions.RemoveEmptyEntries));
        if (words.Length <= MaxChars) return words;
        // Half a character is none, and the database does not take it.
        return words[..(char.IsHighSurrogate(words[MaxChars - 1]) ? MaxChars - 1 : MaxChars)];
    }

    public static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Statement" };
}
