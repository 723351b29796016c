namespace Capsul.Spoke.Vms;

/// <summary>
/// A VM that is made of a foreign machine: before its first start that machine is taken over, and can be given back
/// until the Hub says that the VM is Capsul's for good.
/// </summary>
public sealed partial class VmReconciler
{
    /// <summary>Whether there is nothing to take over, or it has been.</summary>
    async Task<bool> IsTakenOverAsync(VmRecord current, CancellationToken cancel) =>
        current.Wanted is { Adopt.Length: 0 } or { Adopted: true }
        || await hypervisor.TakeOverAsync(current.Spec, cancel);

    /// <summary>
    /// Before anything else, whatever is wanted: its owner may have stopped or deleted it since, and removing one that
    /// can still be given back gives it back.
    /// </summary>
    async Task EndTakeOverAsync(VmRecord current, CancellationToken cancel)
    {
        if (current.Wanted is not { Adopt.Length: > 0, Adopted: true } || progress.TakeOverEnded) return;
        await hypervisor.EndTakeOverAsync(Id, cancel);
        progress = progress with { TakeOverEnded = true };
    }
}
