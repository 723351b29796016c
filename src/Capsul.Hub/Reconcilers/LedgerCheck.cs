using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Leadership;
using Capsul.Postgres;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: verifies the ledger every hour, keeps what it found for the public page, and raises an
/// alert for a difference. It corrects totals, and nothing else: that takes a person, and another transaction.
/// </summary>
public sealed class LedgerCheck(Db db, Fence fence, Settings settings, TimeProvider time) : IActingWork
{
    static readonly TimeSpan Every = TimeSpan.FromHours(1);

    /// <summary>Sentences in an alert.</summary>
    const int MaxSentences = 10;

    IReadOnlyList<AccountCheckRow> waiting = [];

    public string Name => "Ledger check";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One verification. It reads in a transaction of its own, which locks nothing.</summary>
    public async Task<VerifyLedger.Report> LookAsync(long epoch, CancellationToken cancel)
    {
        var report = await VerifyLedger.RunAsync(db, cancel);
        report = report with
        {
            Differences = [.. report.Differences, .. VerifyLedger.StillWaiting(waiting, report.Waiting)],
        };
        waiting = report.Waiting;
        await fence.InTransactionAsync(epoch, async transaction =>
        {
            await transaction.ExecuteAsync(LedgerCheckSql.Record, new
            {
                now = time.GetUtcNow().UtcDateTime,
                differences = report.Differences.Count,
                transactions = report.Counts.Transactions,
                entries = report.Counts.Entries,
            }, cancel);
            await transaction.ExecuteAsync(LedgerCheckSql.RecordSums, new
            {
                types = report.Sums.Select(s => s.Type).ToArray(),
                names = report.Sums.Select(s => s.Name).ToArray(),
                accounts = report.Sums.Select(s => s.Accounts).ToArray(),
                amounts = report.Sums.Select(s => s.Amount).ToArray(),
            }, cancel);
            if (report.Differences.Count > 0)
                await RaiseAlert.InAsync(
                    transaction, settings, RaiseAlert.LedgerWrong, "", Say(report.Differences), time, cancel);
            else
                await RaiseAlert.ClearAsync(transaction, RaiseAlert.LedgerWrong, "", time, cancel);
            return true;
        }, cancel);
        if (report.WrongTotals.Count > 0) await CorrectAsync(report.WrongTotals, epoch, cancel);
        return report;
    }

    /// <summary>Totals are derived from the entries, and metering goes by them: they are corrected, with the alert that
    /// names them.</summary>
    Task<bool> CorrectAsync(IReadOnlyList<string> accounts, long epoch, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            var emails = accounts.ToArray();
            await transaction.ListAsync<string>(MeteringSql.LockThese, new { emails }, cancel);
            await transaction.AskAsync<int>(MeteringSql.CorrectPosted, new { emails }, cancel);
            return true;
        }, cancel);

    static string Say(IReadOnlyList<string> differences) =>
        string.Join(' ', differences.Take(MaxSentences)
            .Prepend("The ledger does not add up; see capsul ledger verify."))
            + (differences.Count > MaxSentences ? $" … and {differences.Count - MaxSentences} more." : "");
}
