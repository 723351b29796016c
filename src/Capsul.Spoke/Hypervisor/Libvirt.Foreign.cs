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
    /// <param name="Backing">The file that it depends on, as this process sees it; empty: none.</param>
    sealed record DiskFacts(int Gb, string Refusal, string Backing = "");

    /// <param name="Refusal">Because of its present state, not of its definition.</param>
    sealed record ForeignDomain(string Uuid, string Name, DomainPower Power, string Xml, string Refusal);

    public async Task<IReadOnlyList<ForeignMachine>> ForeignAsync(CancellationToken cancel)
    {
        var domains = await libvirt.CallAsync("list the machines", Quick, ForeignDomains, cancel);
        return await DescribeAsync(domains, "", cancel);
    }

    /// <param name="domains">All of them: one may need the disk of another.</param>
    /// <param name="fresh">UUID of the one whose disk is looked at now.</param>
    /// <param name="cancel">Gives up.</param>
    async Task<IReadOnlyList<ForeignMachine>> DescribeAsync(
        IReadOnlyList<ForeignDomain> domains, string fresh, CancellationToken cancel)
    {
        var read = new List<(ForeignDomain Domain, ForeignDefinition Definition, DiskFacts Facts)>();
        foreach (var domain in domains)
        {
            var definition = ForeignXml.Read(domain.Xml);
            read.Add((domain, definition, definition.Disk.Length == 0 ? new DiskFacts(0, "")
                : await DiskFactsAsync(
                    definition, domain.Uuid == fresh ? TimeSpan.Zero : LookAtDiskAgain, cancel)));
        }
        var needed = read.SelectMany(r => r.Definition.Files.Select(Seen).Append(r.Facts.Backing))
            .GroupBy(f => f, StringComparer.Ordinal).Where(g => g.Count() > 1).Select(g => g.Key)
            .ToHashSet(StringComparer.Ordinal);
        return [.. read.Select(r => new ForeignMachine(r.Domain.Uuid, r.Domain.Name, r.Domain.Power,
            r.Definition.Vcpus, r.Definition.MemoryMb, r.Facts.Gb, r.Definition.Format, r.Definition.Mac,
            r.Definition.Refusal.Length > 0 ? r.Definition.Refusal
                : r.Domain.Refusal.Length > 0 ? r.Domain.Refusal
                : needed.Contains(Seen(r.Definition.Disk)) ? "Another machine needs its disk." : r.Facts.Refusal))];
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
        if (IsIn(images.Folder, file)) return new DiskFacts(0, "Its disk is one of Capsul's images.");
        if (IsIn(disks, file) && IsOurs(IdOf(file))) return new DiskFacts(0, "Its disk is that of a capsul.");
        if (new FileInfo(file).LinkTarget is not null) return new DiskFacts(0, "Its disk is a symbolic link.");
        try
        {
            return await ReadDiskAsync(machine.Format, file, cancel);
        }
        catch (Exception error) when (error is ProblemException or JsonException)
        {
            // A file system that hangs: the host's other machines are reported nevertheless.
            return new DiskFacts(0, "Its disk cannot be read.");
        }
    }

    async Task<DiskFacts> ReadDiskAsync(string format, string file, CancellationToken cancel)
    {
        var shown = await (new Command("qemu-img", "info", "-U", "--output=json", "-f", format, file) with
        { Timeout = Quick }).TryRunAsync(cancel);
        if (shown.ExitCode != 0) return new DiskFacts(0, "Its disk cannot be read.");
        using var info = JsonDocument.Parse(shown.Output);
        var root = info.RootElement;
        var gb = (int)Math.Min((root.GetProperty("virtual-size").GetInt64() + (1L << 30) - 1) >> 30, int.MaxValue);
        var backing = !root.TryGetProperty("backing-filename", out var named) ? ""
            // Relative to this file; absolute ones are as libvirt sees them.
            : named.GetString()!.StartsWith('/') ? Seen(named.GetString()!)
            : root.TryGetProperty("full-backing-filename", out var full) ? full.GetString()! : named.GetString()!;
        var refusal = root.TryGetProperty("snapshots", out var snapshots) && snapshots.GetArrayLength() > 0
                ? "Its disk has snapshots."
            : backing.Length > 0 && !IsIn(images.Folder, backing)
                ? "Its disk depends on another file (a backing file) that is not one of Capsul's images."
            : "";
        return new DiskFacts(gb, refusal, backing);
    }

    /// <summary>As this process sees it, if it can.</summary>
    string Seen(string path) => Outside(path) ?? path;

    static bool IsIn(string folder, string file) =>
        Path.GetFullPath(file).StartsWith(Path.GetFullPath(folder) + "/", StringComparison.Ordinal);

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
