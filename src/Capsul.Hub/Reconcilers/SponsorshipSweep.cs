using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Sponsorships;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: pays the months of sponsorships that are due, the oldest first, each in a transaction of
/// its own. A Hub that was away pays what became due meanwhile; what the fund does not hold waits, and an alert says
/// so. Due is what the trusted time says (<see cref="DunningSql.Trusted"/>).
/// </summary>
public sealed class SponsorshipSweep(
    Db db, Fence fence, TimeProvider time, ILogger<SponsorshipSweep> log) : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    const int PageRows = 200;

    public override string Name => "Sponsorships";

    protected override TimeSpan Pause => Every;

    /// <summary>Pays all that is due and that the fund holds; returns how many months.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var (paid, trusted) = (0, await db.AskAsync<DateTime>(DunningSql.Trusted, new { now = Now }, cancel));
        // One that was paid may be due again, after those that were due before that.
        for (var round = -1; round != 0; paid += round)
        {
            round = 0;
            for (DueSponsorshipRow? last = new(0, DateTime.UnixEpoch); last is not null;)
            {
                var page = await db.ListAsync<DueSponsorshipRow>(SponsorshipSql.Due,
                    new { now = trusted, due = last.NextDue, after = last.Id, limit = PageRows }, cancel);
                foreach (var due in page)
                    round += await TryAsync(epoch, $"sponsorship {due.Id}", async transaction =>
                        await PaySponsorship.InAsync(transaction, due.Id, Now, cancel) == PaySponsorship.Step.Pay,
                        cancel);
                last = page.Count == PageRows ? page[^1] : null;
            }
        }
        return paid;
    }
}
