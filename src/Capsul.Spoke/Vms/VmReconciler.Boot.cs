using Capsul.Spoke.Hypervisor;

namespace Capsul.Spoke.Vms;

/// <summary>
/// What the VM is started from. A reinstall is another disk with a higher number: the guest shuts down, the disk is
/// made, and the VM is started from it. The old one lies beside it until the Hub no longer wants it kept. A rescue
/// system is a disk, too: while it is wanted the VM is started from that, and afterwards it is removed.
/// </summary>
public sealed partial class VmReconciler
{
    /// <summary>Whether it runs from something else than is wanted. Asked for once per boot.</summary>
    async Task<bool> IsBootedOtherwiseAsync(VmRecord current, CancellationToken cancel)
    {
        var boot = progress.Boot ?? await hypervisor.FindBootAsync(Id, cancel)
            ?? throw new HypervisorException($"The hypervisor does not say what {Id} runs from.", final: false);
        progress = progress with { Boot = boot };
        return boot != current.Spec.Boot;
    }

    /// <summary>The number of the rescue system that it runs from; 0: none.</summary>
    long Rescue => progress.Boot?.Rescue ?? 0;

    /// <summary>When it is off, or runs from the disk that it is to have.</summary>
    async Task DropOldDisksAsync(VmRecord current, CancellationToken cancel)
    {
        var boot = current.Spec.Boot;
        if (current.Wanted.KeepsOldDisk || current.OldDisk is not null || progress.DroppedFor == boot) return;
        // The Hub's word for it must be on disk: after a crash the old disk could be wanted again.
        if (!writer.Flush()) throw new HypervisorException("The host's disk is full.", final: false);
        // Done when nothing is left to be seen, not when a removal says that it succeeded: otherwise the next look
        // tries again.
        if (await hypervisor.DropOtherDisksAsync(current.Spec, cancel))
            progress = progress with { DroppedFor = boot };
    }
}
