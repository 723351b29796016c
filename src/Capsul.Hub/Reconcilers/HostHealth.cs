using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: hosts that have been silent too long are set offline, and their VMs are unknown from the
/// time of their last report, so that nobody pays for unobserved time. Each host is handled in its own transaction, so
/// that one host's thousand VMs do not delay another's.
/// </summary>
public sealed class HostHealth(Db db, TimeProvider time) : IActingWork
{
    static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    public string Name => "Host health";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One round; returns how many VMs became unknown.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var silent = time.GetUtcNow().UtcDateTime - TimeSpan.FromSeconds(Protocol.SilentSeconds);
        var vms = 0;
        foreach (var host in await db.ListAsync<string>(HostSql.Silent, new { silent }, cancel))
            vms += await GiveUpAsync(host, silent, epoch, cancel);
        return vms;
    }

    /// <summary>
    /// Locks the VMs first, then their host, in lock order; only then is it certain that the host is still silent.
    /// </summary>
    Task<int> GiveUpAsync(string host, DateTime silent, long epoch, CancellationToken cancel) =>
        db.InTransactionAsync(async transaction =>
        {
            await transaction.HoldSeatAsync(epoch, cancel);
            var vms = await transaction.ListAsync<string>(ObserveVmSql.LockKnown, new { host }, cancel);
            if (await transaction.FindAsync<DateTime?>(HostSql.TakeOffline, new { id = host, silent }, cancel)
                is not { } lastSeen)
                return 0;
            await transaction.ExecuteAsync(ObserveVmSql.Forget, new { ids = vms }, cancel);
            foreach (var id in vms)
                await transaction.ExecuteAsync(VmSql.CloseUsage, new { id, now = lastSeen }, cancel);
            return vms.Count;
        }, cancel);
}
