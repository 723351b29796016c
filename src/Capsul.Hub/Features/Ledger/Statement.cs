using System.Globalization;
using Capsul.Hub.Features.Payments;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Ledger;

/// <summary>Lines of an account's statement, newest first.</summary>
/// <param name="Older">The next page begins after this transaction; 0: there is none.</param>
/// <param name="Split">A day of which the next page may have more.</param>
public sealed record Statement(IReadOnlyList<StatementLineRow> Lines, long Older, DateTime? Split)
{
    /// <summary>Entries of a page: a day of usage has 24, or as many more as were corrected.</summary>
    public const int PageEntries = 400;

    public const string DayFormat = "yyyy-MM-dd", MonthFormat = "yyyy-MM";

    public static async Task<Statement> LoadAsync(
        Db db, string email, long after, int entries, CancellationToken cancel)
    {
        var lines = await db.ListAsync<StatementLineRow>(
            LedgerPageSql.Statement, new { email, after, limit = entries }, cancel);
        var isAll = lines.Sum(l => l.Entries) < entries;
        return isAll ? new Statement(lines, 0, null) : new Statement(lines, lines[^1].Oldest, lines[^1].Day);
    }

    /// <summary>Whether a line is only a part of its day.</summary>
    public bool IsPart(StatementLineRow line) => line.Payment is null && line.Note.Length == 0 && line.Day == Split;

    /// <summary>What a line is, in words.</summary>
    public static string Say(StatementLineRow line) => line.Kind switch
    {
        "payment" => $"Payment {line.Payment}, {PaymentMethod.Say(line.Method ?? "")}",
        "reversal" => $"Payment {line.Payment} invalidated",
        "usage" when line.Note.Length == 0 => "Usage",
        "usage" => string.Create(CultureInfo.InvariantCulture, $"U{line.Note[1..]}"),
        "correction" => "Correction of earlier usage",
        _ => line.Note.Length > 0 ? line.Note : "Adjustment",
    };

    /// <summary>
    /// The time whose charges are behind a line: its day, or its month if it was posted by the upgrade; null for other
    /// lines. A correction is nearly always of earlier hours of its day.
    /// </summary>
    public static string? TimeOf(StatementLineRow line) => line.Kind is not ("usage" or "correction") ? null
        : line.Day.ToString(line.Note.Length == 0 ? DayFormat : MonthFormat, CultureInfo.InvariantCulture);
}
