using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: hosts that are evacuated get moves, a few at a time, until none of their VMs is left.
/// What was refused is remembered with the reason, for the alert and the host's page, and tried again later. Copies
/// that an operator's force has kept are removed once their VM has run on the other host.
/// </summary>
public sealed class Evacuation(Db db, Fence fence, Settings settings, TimeProvider time) : IActingWork
{
    public static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    static readonly TimeSpan TryAgain = TimeSpan.FromMinutes(5);

    /// <summary>Moves from one host at the same time: they share its disk and its line.</summary>
    const int MovesAtOnce = 2;

    /// <summary>VMs that are tried in one round, and copies that are dropped.</summary>
    const int Batch = 20;

    public string Name => "Evacuation";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One round; returns how many moves it has started.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        foreach (var copy in await db.ListAsync<KeptCopyRow>(MoveSql.Kept, new { limit = Batch }, cancel))
            await DropAsync(copy, epoch, cancel);
        var started = 0;
        foreach (var host in await db.ListAsync<EvacuatedHostRow>(HostChangeSql.Evacuating, null, cancel))
            started += await EvacuateAsync(host, epoch, cancel);
        return started;
    }

    Task<bool> DropAsync(KeptCopyRow copy, long epoch, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            var key = new { id = copy.Id, host = copy.CopyHost };
            if (await transaction.FindAsync<string>(MoveSql.LockKept, key, cancel) is null) return false;
            var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, key, cancel);
            await transaction.ExecuteAsync(MoveSql.DropKept, new { id = copy.Id, generation }, cancel);
            return true;
        }, cancel);

    async Task<int> EvacuateAsync(EvacuatedHostRow host, long epoch, CancellationToken cancel)
    {
        var free = MovesAtOnce
            - await db.AskAsync<int>(MoveRefusalSql.CountFrom, new { host = host.Id }, cancel);
        if (free <= 0) return 0;
        var (started, now) = (0, time.GetUtcNow().UtcDateTime);
        foreach (var vm in await db.ListAsync<string>(
            MoveRefusalSql.Next, new { host = host.Id, lately = now - TryAgain, limit = Batch }, cancel))
        {
            if (await MoveAsync(host, vm, epoch, cancel) && ++started == free) break;
        }
        return started;
    }

    /// <summary>Starts a move, or remembers why not.</summary>
    async Task<bool> MoveAsync(EvacuatedHostRow host, string vm, long epoch, CancellationToken cancel)
    {
        Problem? problem;
        try
        {
            problem = await fence.InTransactionAsync(epoch, async transaction => (await MoveVm.InAsync(
                transaction, "evacuation", new MoveVm.Input(vm, host.To), host.Reason, settings, time, cancel)).Problem,
                cancel);
        }
        catch (ProblemException refused)
        {
            problem = refused.Problem;
        }
        if (problem is null) return true;
        await fence.ExecuteAsync(epoch, MoveRefusalSql.Put,
            new { vm, now = time.GetUtcNow().UtcDateTime, problem = problem.Message }, cancel);
        return false;
    }
}
