namespace Capsul.Hub.Features.Vms;

/// <summary>Word and color for the state of a VM. The word is sufficient; the color only repeats it.</summary>
/// <param name="Tone">good, busy, bad or off: a class of the style sheet.</param>
public sealed record VmState(string Word, string Tone)
{
    public static VmState Of(VmRow vm) => Of(vm.State, vm.Observed, vm.Paused, vm.Queued, vm.InRescue);

    public static VmState Of(ListedVmRow vm) =>
        Of(vm.State, vm.Observed, vm.Paused, vm.Queued, vm.ObservedRescue > 0);

    static VmState Of(string state, string observed, bool paused, DateTime? queued, bool inRescue) => state switch
    {
        "running" or "stopped" when observed == "unknown" => new("unreachable", "off"),
        "running" when paused => new("paused", "bad"),
        "running" when inRescue => new("in rescue", "bad"),
        "running" => new("running", "good"),
        "stopped" => new("stopped", "off"),
        "failed" => new("failed", "bad"),
        "deleted" => new("deleted", "off"),
        "creating" when queued is not null => new("queued", "busy"),
        "creating" => new("creating", "busy"),
        _ => new(state, "busy"),
    };
}
