using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: posts the usage of each hour that has ended to the ledger, for all accounts, and what
/// has changed in earlier hours as a correction. An hour is posted for a number of accounts in one transaction, which
/// also records how far they are, so a Hub may be killed between any two; the next one goes on there. A Hub that was
/// away posts one hour after the other, and comes to the same cent (<see cref="Charges"/>).
/// </summary>
public sealed class Metering(Db db, Fence fence, TimeProvider time) : IActingWork
{
    /// <summary>How often it looks whether an hour has ended.</summary>
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    /// <summary>
    /// An hour is posted this long after its end: that a host went silent, which ends a span at its last report, is
    /// known by then. What comes later still is a correction.
    /// </summary>
    public static readonly TimeSpan After = TimeSpan.FromMinutes(5);

    static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    /// <summary>Accounts in one transaction, which locks their totals.</summary>
    const int PieceRows = 500;

    public string Name => "Metering";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        // Hosts connect again first: what they report may end spans in the hours that are to be posted.
        await Task.Delay(TimeSpan.FromSeconds(2 * Protocol.SilentSeconds), time, cancel);
        while (!cancel.IsCancellationRequested)
        {
            await CatchUpAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>Posts all hours that have ended; returns how many.</summary>
    public async Task<int> CatchUpAsync(long epoch, CancellationToken cancel)
    {
        if (await UntilAsync(epoch, cancel) is not { } until) return 0;
        var hours = 0;
        for (var hour = until + Hour; hour + After <= time.GetUtcNow().UtcDateTime; hour += Hour, hours++)
            await PostAsync(epoch, hour, cancel);
        return hours;
    }

    /// <summary>
    /// Until when all is posted; null when nothing has ever been used. The beginning is recorded, too: an alert says
    /// how long nothing was posted.
    /// </summary>
    async Task<DateTime?> UntilAsync(long epoch, CancellationToken cancel)
    {
        if (await db.FindAsync<DateTime?>(MeteringSql.Until, null, cancel) is { } until) return until;
        if (await db.FindAsync<DateTime?>(MeteringSql.First, null, cancel) is not { } first) return null;
        var hour = new DateTime(first.Ticks - first.Ticks % Hour.Ticks, DateTimeKind.Utc);
        await fence.ExecuteAsync(epoch, MeteringSql.Finish, new { hour }, cancel);
        return hour;
    }

    /// <summary>Posts one hour for all accounts.</summary>
    /// <param name="hour">Its end.</param>
    public async Task PostAsync(long epoch, DateTime hour, CancellationToken cancel)
    {
        var decimals = (await db.AskAsync<CurrencyRow>(CurrencySql.Find, null, cancel)).Decimals;
        // An account that is renamed meanwhile may slip past; it is found in the next sweep.
        for (var found = true; found;)
        {
            found = false;
            for (var after = ""; after is not null; found |= after is not null)
                after = await fence.InTransactionAsync(
                    epoch, transaction => PostPieceAsync(transaction, after, hour, decimals, cancel), cancel);
        }
        await fence.ExecuteAsync(epoch, MeteringSql.Finish, new { hour }, cancel);
    }

    /// <summary>Posts the next accounts; returns the last of them, or null when there was none.</summary>
    static async Task<string?> PostPieceAsync(
        NpgsqlTransaction transaction, string after, DateTime hour, int decimals, CancellationToken cancel)
    {
        var emails = (await transaction.ListAsync<string>(
            MeteringSql.LockNext, new { after, hour, limit = PieceRows }, cancel)).ToArray();
        if (emails.Length == 0) return null;
        var rows = await transaction.ListAsync<MeteredRow>(
            MeteringSql.Facts, new { emails, before = hour - Hour, hour }, cancel);
        var postings = rows.Select(r => (r.Email, Posting: Charges.Decide(
            new Charges.Facts(r.Charged, r.Before, r.Until), decimals))).ToList();
        await AddAsync(transaction, "correction", hour, postings.Select(p => (p.Email, p.Posting.Correction)), cancel);
        await AddAsync(transaction, "usage", hour, postings.Select(p => (p.Email, p.Posting.Usage)), cancel);
        await transaction.ExecuteAsync(
            MeteringSql.Record, new
            {
                // In the order of the facts: an account that was renamed while its lock was awaited has a new place.
                emails = rows.Select(r => r.Email).ToArray(),
                used = rows.Select(r => r.Until).ToArray(),
                hour,
            }, cancel);
        return emails[^1];
    }

    static async Task AddAsync(NpgsqlTransaction transaction, string kind, DateTime hour,
        IEnumerable<(string Email, decimal Amount)> postings, CancellationToken cancel)
    {
        var charges = postings.Where(p => p.Amount != 0).ToList();
        if (charges.Count == 0) return;
        var emails = charges.Select(c => c.Email).ToArray();
        var amounts = charges.Select(c => c.Amount).ToArray();
        await transaction.ExecuteAsync(LedgerSql.AddCustomers, new { emails }, cancel);
        await transaction.ExecuteAsync(LedgerSql.PostUsage, new { emails, amounts, hour, kind }, cancel);
    }
}
