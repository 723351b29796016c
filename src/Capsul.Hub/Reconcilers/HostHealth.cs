using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Wire;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: hosts that have been silent too long are set offline, and their VMs are unknown
/// (<see cref="ForgetHost"/>). Each host is handled in its own transaction, so that one host's thousand VMs do not
/// delay another's. A Hub that has just become active gives the hosts time to connect.
/// </summary>
public sealed class HostHealth(Db db, Fence fence, TimeProvider time) : IActingWork
{
    static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    public static TimeSpan Grace { get; } = TimeSpan.FromSeconds(Protocol.SilentSeconds);

    public string Name => "Host health";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        await Task.Delay(Grace, time, cancel);
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
            vms += await fence.InTransactionAsync(epoch, transaction =>
                ForgetHost.RunAsync(transaction, host, silent, cancel), cancel);
        return vms;
    }
}
