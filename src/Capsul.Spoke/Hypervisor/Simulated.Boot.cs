namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Several disks of one machine: the one that it was last started from, or that came first, and those that lie beside
/// it.
/// </summary>
public sealed partial class Simulated
{
    static readonly Dictionary<long, Content> None = [];

    static bool Has(Machine? machine, long disk) => machine is not null
        && (machine.Number == disk ? machine.Disk : machine.Others?.ContainsKey(disk) == true);

    /// <summary>A machine that is off, with a disk that it has in place of the one before.</summary>
    static Machine Insert(Machine machine, long disk)
    {
        if (machine.Number == disk) return machine;
        var others = new Dictionary<long, Content>(machine.Others ?? None);
        if (machine.Disk) others[machine.Number] = machine.Content;
        others.Remove(disk, out var content);
        return machine with { Disk = true, Number = disk, Content = content!, Others = others };
    }

    /// <summary>The caller has the lock.</summary>
    void AddDisk(VmSpec vm) => Change(vm.Id, m => m.Number == vm.Disk || !m.Disk && m.Others is null or { Count: 0 }
        ? m with { Disk = true, Number = vm.Disk }
        : m with { Others = new Dictionary<long, Content>(m.Others ?? None) { [vm.Disk] = NewContent() } });

    /// <summary>The number of the disk of each machine that is on.</summary>
    public IReadOnlyDictionary<string, long> BootedFrom
    {
        get
        {
            lock (gate)
                return machines.Where(m => m.Value.On)
                    .ToDictionary(m => m.Key, m => m.Value.Number, StringComparer.Ordinal);
        }
    }

    /// <summary>The numbers of all disks of each machine.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<long>> Disks
    {
        get
        {
            lock (gate)
                return machines.ToDictionary(m => m.Key, m => (IReadOnlyList<long>)
                    [.. (m.Value.Others ?? None).Keys.Concat(m.Value.Disk ? [m.Value.Number] : []).Order()],
                    StringComparer.Ordinal);
        }
    }

    public Task<VmBoot?> FindBootAsync(string id, CancellationToken cancel) => DoAsync<VmBoot?>(Verb.FindBoot, () =>
    {
        lock (gate)
        {
            return machines.GetValueOrDefault(id) is { On: true } machine
                ? new VmBoot(machine.Number, machine.InRescue ? machine.Rescue!.Number : 0) : null;
        }
    }, cancel);

    public Task<bool> DropOtherDisksAsync(VmSpec vm, CancellationToken cancel) => DoAsync(Verb.DropDisks, () =>
    {
        lock (gate)
        {
            if (!Has(machines.GetValueOrDefault(vm.Id), vm.Disk)) return true;
            var others = Disks[vm.Id].Where(d => d != vm.Disk).ToList();
            foreach (var disk in others) disksMade.TryRemove(StorageXml.Stem(vm.Id, disk), out _);
            Change(vm.Id, m => m.Number == vm.Disk && m.Others is null or { Count: 0 } ? m
                : Insert(m, vm.Disk) with { Others = null });
            DropRescue(vm);
            return others.Count == 0;
        }
    }, cancel);
}
