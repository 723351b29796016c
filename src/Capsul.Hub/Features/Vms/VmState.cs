namespace Capsul.Hub.Features.Vms;

/// <summary>Word and color for the state of a VM. The word is sufficient; the color only repeats it.</summary>
/// <param name="Tone">good, busy, bad or off: a class of the style sheet.</param>
public sealed record VmState(string Word, string Tone)
{
    public static VmState Of(VmRow vm) => vm switch
    {
        { State: "running" or "stopped", Observed: "unknown" } => new("unreachable", "off"),
        { State: "running", Paused: true } => new("paused", "bad"),
        { State: "running" } => new("running", "good"),
        { State: "stopped" } => new("stopped", "off"),
        { State: "failed" } => new("failed", "bad"),
        { State: "deleted" } => new("deleted", "off"),
        { State: "creating", Queued: not null } => new("queued", "busy"),
        { State: "creating" } => new("creating", "busy"),
        _ => new(vm.State, "busy"),
    };
}
