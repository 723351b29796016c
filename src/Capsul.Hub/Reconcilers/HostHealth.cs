using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// Takes no input and may run as often as it likes: hosts that have been silent too long are offline, and what they
/// hold is unknown from the moment of their last report, so that nobody pays for unobserved time. A host at a time,
/// each in a transaction of its own: one host's thousand VMs do not hold up another's.
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

    /// <summary>One look; gives how many VMs became unknown.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var silent = time.GetUtcNow().UtcDateTime - TimeSpan.FromSeconds(Protocol.SilentSeconds);
        var vms = 0;
        foreach (var host in await db.ListAsync<string>(HostSql.Silent, new { silent }, cancel))
            vms += await GiveUpAsync(host, silent, epoch, cancel);
        return vms;
    }

    /// <summary>
    /// VMs first, then their host, in the order of all locks; only then is it certain that the host is silent still.
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
