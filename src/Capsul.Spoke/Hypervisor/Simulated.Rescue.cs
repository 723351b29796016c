using Capsul.Spoke.Vms;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Rescue systems: each with a host key of its own. The machine's own disk is not booted meanwhile.</summary>
public sealed partial class Simulated
{
    /// <summary>Whether guests read their seed at every boot, as cloud-init does.</summary>
    public bool TakesKeys { get; set; } = true;

    sealed record RescueDisk(long Number, Content Content);

    /// <summary>The number of the rescue system of each machine that is on in one.</summary>
    public IReadOnlyDictionary<string, long> Rescued
    {
        get
        {
            lock (gate)
                return machines.Where(m => m.Value is { On: true, InRescue: true })
                    .ToDictionary(m => m.Key, m => m.Value.Rescue!.Number, StringComparer.Ordinal);
        }
    }

    /// <summary>The number and the content of the disk of each rescue system that there is.</summary>
    public IReadOnlyDictionary<string, (long Number, Content Content)> RescueDisks
    {
        get
        {
            lock (gate)
                return machines.Where(m => m.Value.Rescue is not null).ToDictionary(
                    m => m.Key, m => (m.Value.Rescue!.Number, m.Value.Rescue.Content), StringComparer.Ordinal);
        }
    }

    /// <summary>The caller has the lock.</summary>
    void MakeRescue(VmSpec vm)
    {
        if (vm.Rescue is not { } rescue) return;
        if (images.Find(rescue.ImageId, rescue.ImageSha256) is null)
            throw new HypervisorException($"The image {rescue.ImageId} is not on this host.", final: true);
        Change(vm.Id, m => m.Rescue?.Number == rescue.Number ? m
            : full ? throw new HypervisorException("The host's disk is full.", final: true)
            : m with { Rescue = new RescueDisk(rescue.Number, NewContent()), InRescue = false });
    }

    static bool HasRescue(Machine machine, VmSpec vm) =>
        vm.Rescue is not { } rescue || machine.Rescue?.Number == rescue.Number;

    /// <summary>A machine that is off, and starts.</summary>
    Machine Boot(Machine machine, VmSpec vm)
    {
        static Content Again(Content content) => content with { Boots = content.Boots + 1 };
        return vm.Rescue is null ? machine with
        {
            InRescue = false,
            Content = Again(machine.Content) with
            {
                KeySet = TakesKeys ? Math.Max(machine.Content.KeySet, vm.KeySet?.Number ?? 0) : machine.Content.KeySet,
            },
        }
            : machine with
            {
                InRescue = true,
                Rescue = machine.Rescue! with { Content = Again(machine.Rescue.Content) },
            };
    }

    /// <summary>The caller has the lock.</summary>
    void DropRescue(VmSpec vm) => Change(vm.Id, m => m.Rescue is null || m.Rescue.Number == vm.Rescue?.Number
        || m is { On: true, InRescue: true } ? m : m with { Rescue = null, InRescue = false });

    static string KeySetOf(Machine machine) => machine is { InRescue: false, Content.KeySet: > 0 and var set }
        ? ConsoleText.KeySetLine(set) + "\n" : "";

    static string HostKeyOf(Machine machine) =>
        machine is { InRescue: true, Rescue: { } rescue } ? rescue.Content.HostKey : machine.Content.HostKey;
}
