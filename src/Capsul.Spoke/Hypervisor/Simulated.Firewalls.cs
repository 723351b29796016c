using System.Collections.Concurrent;

namespace Capsul.Spoke.Hypervisor;

/// <summary>What may reach the machines, as far as it was said.</summary>
public sealed partial class Simulated
{
    /// <summary>The firewall that each machine has.</summary>
    public ConcurrentDictionary<string, Firewall?> Firewalls { get; } = new(StringComparer.Ordinal);

    public DateTimeOffset? RulesRemoved { get; set; }

    public string CutOff { get; set; } = "";

    public bool IsGuarded(VmSpec vm) => Firewalls.TryGetValue(vm.Id, out var now) && Equals(now, vm.Firewall);

    public Task GuardAsync(VmSpec vm, CancellationToken cancel) => DoAsync(Verb.Guard, () =>
    {
        Firewalls[vm.Id] = vm.Firewall;
        return true;
    }, cancel);
}
