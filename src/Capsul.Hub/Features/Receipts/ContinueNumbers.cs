using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Receipts;

/// <summary>
/// Says with which number receipts go on, when numbers were given out that are not in this database: since the backup
/// that was restored, or before a database that was lost. They are a gap with a reason, and never given out again.
/// </summary>
public static class ContinueNumbers
{
    /// <summary>More at once is a typo.</summary>
    public const int MostAtOnce = 100_000;

    /// <summary>The refusal, or null.</summary>
    /// <param name="last">The last number that was given out here, or skipped.</param>
    public static Problem? Decide(int last, int next) =>
        next <= last ? new(ProblemKind.Conflict, string.Create(CultureInfo.InvariantCulture,
            $"Number {next} was given out already: the next one is {last + 1}. Numbers never go backwards."))
        : next == last + 1 ? new(ProblemKind.Conflict, string.Create(CultureInfo.InvariantCulture,
            $"The next receipt has number {next} anyway."))
        : next - last - 1 > MostAtOnce ? new(ProblemKind.Invalid, string.Create(CultureInfo.InvariantCulture,
            $"That would skip more than {MostAtOnce} numbers."))
        : null;

    /// <returns>The gap.</returns>
    public static Task<Outcome<ReceiptGapRow>> RunAsync(
        Db db, string actor, int next, string? reason, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<ReceiptGapRow>(async transaction =>
        {
            var last = await transaction.AskAsync<int>(ReceiptSql.LockNumbers, null, cancel);
            if (Decide(last, next) is { } problem) return problem;
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            var gap = new ReceiptGapRow(last + 1, next - 1, why, actor, time.GetUtcNow().UtcDateTime);
            await transaction.ExecuteAsync(ReceiptSql.AddGap, gap, cancel);
            await transaction.AuditAsync(actor, "continue_receipts", "receipts",
                string.Create(CultureInfo.InvariantCulture, $"{gap.First} to {gap.Last} skipped; {why}"), cancel);
            return gap;
        }, cancel);
}
