using System.Collections.Concurrent;
using System.Net;

namespace Capsul.Spoke.Hypervisor;

/// <summary>What may reach the machines, as far as it was said.</summary>
public sealed partial class Simulated
{
    /// <summary>The firewall that each machine has.</summary>
    public ConcurrentDictionary<string, Firewall?> Firewalls { get; } = new(StringComparer.Ordinal);

    public DateTimeOffset? RulesRemoved { get; set; }

    public string CutOff { get; set; } = "";

    /// <summary>The further addresses that each machine may have, as they were last said.</summary>
    public ConcurrentDictionary<string, IReadOnlyList<IPAddress>> Further { get; } = new(StringComparer.Ordinal);

    public bool IsGuarded(VmSpec vm) => Firewalls.TryGetValue(vm.Id, out var now) && Equals(now, vm.Firewall)
        && Further.GetValueOrDefault(vm.Id, []).SequenceEqual(vm.Further);

    public Task GuardAsync(VmSpec vm, CancellationToken cancel) => DoAsync(Verb.Guard, () =>
    {
        Firewalls[vm.Id] = vm.Firewall;
        Further[vm.Id] = vm.Further;
        return true;
    }, cancel);
}
