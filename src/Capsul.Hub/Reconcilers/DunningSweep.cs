using Capsul.Foundation;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: takes accounts whose money runs low a step further, and back when they have paid; stops,
/// starts and deletes VMs as their account's step says. Every account and every VM is a transaction of its own; one
/// that fails is tried again in the next round, and does not keep the others from their turn.
/// </summary>
public sealed class DunningSweep(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<DunningSweep> log) : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    /// <summary>The most that one round adds to the clock: a Hub that was away shortens no grace.</summary>
    static readonly TimeSpan MostOfRound = 2 * Every;

    /// <summary>A VM that could not be stopped is tried again.</summary>
    static readonly TimeSpan RetryStop = TimeSpan.FromHours(1);

    const int PageRows = 500;

    delegate Task<bool> Act(NpgsqlTransaction transaction, DunnedVmRow vm, Settings settings, TimeProvider time,
        CancellationToken cancel);

    public override string Name => "Dunning";

    protected override TimeSpan Pause => Every;

    /// <summary>One round; returns how many accounts and VMs it changed.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var clock = await TickAsync(epoch, cancel);
        var table = new DunningTable(await db.ListAsync<DunningStepRow>(DunningSql.Steps, null, cancel));
        var changed = await MoveAllAsync(epoch, table, clock, cancel);
        if (clock.Paused.Length == 0)
        {
            if (table.Steps.FirstOrDefault(s => s.Stops) is { Step: var stops })
                changed += await EachAsync(epoch, DunningSql.ToStop, stops, TakeStep.StopAsync, cancel);
            if (table.Steps.FirstOrDefault(s => s.Action == "delete") is { Step: var deletes })
                changed += await EachAsync(epoch, DunningSql.ToDelete, deletes, TakeStep.DeleteAsync, cancel);
        }
        return changed + await EachAsync(epoch, DunningSql.ToStart, 0, TakeStep.StartAsync, cancel);
    }

    Task<DunningClockRow> TickAsync(long epoch, CancellationToken cancel) =>
        Fence.InTransactionAsync(epoch, async transaction =>
        {
            var most = (int)MostOfRound.TotalSeconds;
            var clock = await transaction.AskAsync<DunningClockRow>(DunningSql.Tick, new { now = Now, most }, cancel);
            await transaction.ExecuteAsync(DunningSql.MarkTold, null, cancel);
            await transaction.ExecuteAsync(DunningSql.StartOver, new { now = Now }, cancel);
            await transaction.ExecuteAsync(
                DunningSql.Forget, new { seconds = (long)DecideDunning.QuietSeconds }, cancel);
            return clock;
        }, cancel);

    /// <summary>Most accounts stay where they are: that is decided without a lock, and again with it.</summary>
    async Task<int> MoveAllAsync(long epoch, DunningTable table, DunningClockRow clock, CancellationToken cancel)
    {
        var runway = table.Steps.Select(s => (TimeSpan?)TimeSpan.FromHours(s.RunwayHours)).Max();
        var horizon = runway is { } longest ? (Now + longest - DateTime.UnixEpoch).TotalSeconds : 0;
        var moved = 0;
        for (var after = ""; after is not null;)
        {
            var page = await db.ListAsync<DunningAccountRow>(DunningSql.Candidates,
                new { after, now = Now, horizon = (decimal)horizon, limit = PageRows }, cancel);
            foreach (var row in page)
            {
                if (DecideDunning.Decide(TakeStep.FactsOf(row, clock), table) is not null)
                    moved += await TryAsync(epoch, row.Email, transaction =>
                        TakeStep.RunAsync(transaction, row.Email, settings, Time, cancel), cancel);
            }
            after = page.Count == PageRows ? page[^1].Email : null;
        }
        return moved;
    }

    /// <summary>What does not fit into one page is done in the next round.</summary>
    async Task<int> EachAsync(long epoch, string sql, short step, Act act, CancellationToken cancel)
    {
        var vms = await db.ListAsync<DunnedVmRow>(
            sql, new { step, now = Now, retry = Now - RetryStop, limit = PageRows }, cancel);
        var done = 0;
        foreach (var vm in vms)
            done += await TryAsync(
                epoch, vm.Id, transaction => act(transaction, vm, settings, Time, cancel), cancel);
        return done;
    }
}
