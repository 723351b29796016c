using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// Serves the queues for build slots: woken when a build ends on a host where others wait, and looks every ten seconds
/// besides. Each host is its own transaction.
/// </summary>
public sealed class BuildQueues(Db db, Fence fence, Listener listener, Settings settings, TimeProvider time)
    : IActingWork
{
    public static readonly TimeSpan Every = TimeSpan.FromSeconds(10);

    public string Name => "Build queues";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        using var wake = listener.Subscribe(Listener.Builds);
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await wake.WaitAsync(Every, cancel);
        }
    }

    /// <summary>One round; returns how many VMs are built now.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var admitted = 0;
        foreach (var host in await db.ListAsync<string>(
            BuildQueueSql.HostsToServe, new { buildSlots = settings.BuildSlots }, cancel))
            admitted += await fence.InTransactionAsync(epoch,
                transaction => AdmitBuilds.RunAsync(transaction, host, settings, time, cancel), cancel);
        return admitted;
    }
}
