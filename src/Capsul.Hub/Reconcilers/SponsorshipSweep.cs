using Capsul.Hub.Features.Sponsorships;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: pays the months of sponsorships that are due, the oldest first, each in a transaction of
/// its own. A Hub that was away pays what became due meanwhile; what the fund does not hold waits, and an alert says
/// so.
/// </summary>
public sealed partial class SponsorshipSweep(
    Db db, Fence fence, TimeProvider time, ILogger<SponsorshipSweep> log) : IActingWork
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    const int PageRows = 200;

    public string Name => "Sponsorships";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>Pays all that is due and that the fund holds; returns how many months.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var paid = 0;
        // One that was paid may be due again, after those that were due before that.
        for (var round = -1; round != 0; paid += round)
        {
            round = 0;
            for (DueSponsorshipRow? last = new(0, DateTime.UnixEpoch); last is not null;)
            {
                var page = await db.ListAsync<DueSponsorshipRow>(SponsorshipSql.Due,
                    new { now = Now, due = last.NextDue, after = last.Id, limit = PageRows }, cancel);
                foreach (var due in page) round += await TryAsync(epoch, due.Id, cancel);
                last = page.Count == PageRows ? page[^1] : null;
            }
        }
        return paid;
    }

    async Task<int> TryAsync(long epoch, long id, CancellationToken cancel)
    {
        try
        {
            return await fence.InTransactionAsync(epoch, transaction =>
                PaySponsorship.InAsync(transaction, id, Now, cancel), cancel) == PaySponsorship.Step.Pay ? 1 : 0;
        }
        catch (PostgresException error)
        {
            Log.Failed(log, error, id);
            return 0;
        }
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3520, Level = LogLevel.Error, Message = "Paying sponsorship {Id} failed")]
        public static partial void Failed(ILogger log, Exception error, long id);
    }
}
