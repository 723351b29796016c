using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: a VM between two states whose operation is gone gets another one, and what a deleted VM
/// still holds is released (<see cref="RepairVm"/>). In batches, each its own transaction.
/// </summary>
public sealed class HalfMadeVms(Fence fence, Settings settings, TimeProvider time) : IActingWork
{
    public static readonly TimeSpan Every = TimeSpan.FromSeconds(30);

    /// <summary>What deleted VMs left behind is searched for once an hour: it reads everything.</summary>
    const int CloseEvery = 120;

    int rounds;

    public string Name => "Half-made VMs";

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One round; returns how many VMs were repaired.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var repaired = 0;
        for (var batch = RepairVm.Batch; batch == RepairVm.Batch; repaired += batch)
            batch = await fence.InTransactionAsync(epoch,
                transaction => RepairVm.StartLostAsync(transaction, null, settings, time, cancel), cancel);
        if (rounds++ % CloseEvery == 0)
            repaired += await fence.InTransactionAsync(epoch,
                transaction => RepairVm.CloseAsync(transaction, settings, time, cancel), cancel);
        return repaired;
    }
}
