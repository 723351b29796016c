using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text.Json;
using Capsul.Foundation;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Foreign machines: what libvirt has that Capsul did not make. They are only read, unless the Hub asks for one to be
/// taken over: see <c>Libvirt.TakeOver</c>.
/// </summary>
public sealed partial class Libvirt
{
    /// <summary>virDomainXMLFlags: the definition, not the running state.</summary>
    const uint Inactive = 2;

    /// <summary>How long what a disk contains is believed; looking costs a process.</summary>
    static readonly TimeSpan LookAtDiskAgain = TimeSpan.FromMinutes(10);

    readonly ConcurrentDictionary<string, (DiskFacts Facts, DateTimeOffset At)> foreignDisks =
        new(StringComparer.Ordinal);

    /// <param name="Gb">Size as the guest sees it, rounded up.</param>
    sealed record DiskFacts(int Gb, string Refusal);

    /// <param name="Refusal">Because of its present state, not of its definition.</param>
    sealed record ForeignDomain(string Uuid, string Name, DomainPower Power, string Xml, string Refusal);

    public async Task<IReadOnlyList<ForeignMachine>> ForeignAsync(CancellationToken cancel)
    {
        var domains = await libvirt.CallAsync("list the machines", Quick, ForeignDomains, cancel);
        var found = new List<ForeignMachine>();
        foreach (var domain in domains) found.Add(await DescribeAsync(domain, LookAtDiskAgain, cancel));
        return found;
    }

    async Task<ForeignMachine> DescribeAsync(ForeignDomain domain, TimeSpan believed, CancellationToken cancel)
    {
        var definition = ForeignXml.Read(domain.Xml);
        var refusal = definition.Refusal.Length > 0 ? definition.Refusal : domain.Refusal;
        var facts = new DiskFacts(0, "");
        if (refusal.Length == 0) facts = await DiskFactsAsync(definition, believed, cancel);
        return new ForeignMachine(domain.Uuid, domain.Name, domain.Power, definition.Vcpus, definition.MemoryMb,
            facts.Gb, definition.Format, definition.Mac, refusal.Length > 0 ? refusal : facts.Refusal);
    }

    async Task<DiskFacts> DiskFactsAsync(ForeignDefinition machine, TimeSpan believed, CancellationToken cancel)
    {
        var now = time.GetUtcNow();
        if (foreignDisks.TryGetValue(machine.Disk, out var known) && now - known.At < believed) return known.Facts;
        var facts = await ReadDiskAsync(machine, cancel);
        foreignDisks[machine.Disk] = (facts, now);
        return facts;
    }

    /// <summary>
    /// In the format of the definition: a guest may have written anything to a raw disk, also what looks like qcow2.
    /// </summary>
    async Task<DiskFacts> ReadDiskAsync(ForeignDefinition machine, CancellationToken cancel)
    {
        if (Outside(machine.Disk) is not { } file || !File.Exists(file))
            return new DiskFacts(0, "Its disk is not in a folder that the Spoke can reach.");
        var shown = await (new Command("qemu-img", "info", "-U", "--output=json", "-f", machine.Format, file) with
        { Timeout = Quick }).TryRunAsync(cancel);
        if (shown.ExitCode != 0) return new DiskFacts(0, "Its disk cannot be read.");
        using var info = JsonDocument.Parse(shown.Output);
        var root = info.RootElement;
        var gb = (int)Math.Min((root.GetProperty("virtual-size").GetInt64() + (1L << 30) - 1) >> 30, int.MaxValue);
        var refusal = root.TryGetProperty("snapshots", out var snapshots) && snapshots.GetArrayLength() > 0
                ? "Its disk has snapshots."
            : root.TryGetProperty("backing-filename", out var backing) && !IsInPool(backing.GetString()!)
                ? "Its disk depends on another file (a backing file) that is not one of Capsul's images."
            : "";
        return new DiskFacts(gb, refusal);
    }

    bool IsInPool(string backing) => Outside(backing) is { } file
        && Path.GetFullPath(file).StartsWith(Path.GetFullPath(images.Folder) + "/", StringComparison.Ordinal);

    /// <summary>
    /// The same file as this process sees it; null if it cannot. The opposite of <see cref="Inside"/>, and the machines
    /// that somebody made by hand inside the sandbox.
    /// </summary>
    string? Outside(string path)
    {
        if (!Private) return path;
        foreach (var (outside, inside) in ((string, string)[])[(disks, Sandbox.DisksInside),
            (images.Folder, Sandbox.ImagesInside),
            (Path.Combine(settings.Data, "spoke", "libvirt", "lib"), "/var/lib/libvirt")])
        {
            if (path.StartsWith(inside + "/", StringComparison.Ordinal)) return outside + path[inside.Length..];
        }
        return null;
    }

    static unsafe IReadOnlyList<ForeignDomain> ForeignDomains(ConnectHandle connect)
    {
        var count = Check(virConnectListAllDomains(connect, out var list, 0));
        var found = new List<ForeignDomain>();
        for (var i = 0; i < count; i++)
        {
            var domain = ((nint*)list)[i];
            var name = Marshal.PtrToStringUTF8(virDomainGetName(domain));
            // One that was undefined meanwhile has no description anymore.
            if (name is not null && !IsOurs(name) && ReadForeign(domain, name) is { } machine) found.Add(machine);
            _ = virDomainFree(domain);
        }
        Free(list);
        return found;
    }

    static unsafe ForeignDomain? ReadForeign(nint domain, string name)
    {
        var uuid = stackalloc byte[37];
        // The largest version of virDomainJobInfo has 17 longs; its first field is the kind of job, 0: none.
        var job = stackalloc long[32];
        if (virDomainGetUUIDString(domain, uuid) < 0 || virDomainGetRawState(domain, out var state, out _, 0) < 0)
            return null;
        var xml = virDomainGetXMLDesc(domain, Inactive);
        if (xml == 0) return null;
        var refusal =
            virDomainIsPersistent(domain) == 0 ? "It is transient: its definition is not stored."
            : virDomainSnapshotNum(domain, 0) > 0 ? "It has snapshots."
            : virDomainHasManagedSaveImage(domain, 0) > 0 ? "Its memory is saved; start it, and shut it down."
            : virDomainGetJobInfo(domain, job) == 0 && (int)job[0] != 0
                ? "A job is running on it, such as a migration or a backup."
            : "";
        return new ForeignDomain(
            Marshal.PtrToStringUTF8((nint)uuid)!, name, ToPower(state), Take(xml), refusal);
    }
}
