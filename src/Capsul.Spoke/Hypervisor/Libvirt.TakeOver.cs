using System.Text.Json;
using Capsul.Foundation;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Taking over a foreign machine, one step at a time. What is needed to give it back is on disk before anything is
/// changed (<c>spoke/foreign</c>): where its disk was, whether it was on, its definition. That definition also stays in
/// libvirt until the Hub says that the VM is Capsul's for good.
/// </summary>
public sealed partial class Libvirt
{
    static readonly TimeSpan AskForeignAgain = TimeSpan.FromSeconds(10);

    /// <summary>How late a guest may obey a request to shut down.</summary>
    static readonly TimeSpan LateShutdown = TimeSpan.FromMinutes(2);

    static readonly TimeSpan CopyLimit = TimeSpan.FromHours(6);

    /// <param name="DiskFrom">Where its disk was, as this process sees it.</param>
    /// <param name="Owner">Of the disk, as chown takes it.</param>
    /// <param name="AskedAt">When it was last asked to shut down; null: never.</param>
    /// <param name="Ended">It is Capsul's for good.</param>
    sealed record Taken(
        string Uuid, string Name, string DiskFrom, string Owner, string Format, string? Kernel, string? Initrd,
        string? CommandLine, bool WasOn, DateTimeOffset? AskedAt = null, bool Ended = false);

    string ForeignFolder => Path.Combine(settings.Data, "spoke", "foreign");

    string TakenFile(string id) => Path.Combine(ForeignFolder, id + ".json");

    string TakenXml(string id) => Path.Combine(ForeignFolder, id + ".xml");

    /// <summary>An adopted VM is never reinstalled: it has only one disk.</summary>
    string FirstDisk(string id) => Path.Combine(disks, StorageXml.Volume(id, 0));

    Taken? FindTaken(string id) => File.Exists(TakenFile(id))
        ? JsonSerializer.Deserialize<Taken>(File.ReadAllText(TakenFile(id))) : null;

    void Save(string id, Taken taken) =>
        DataFolder.WriteWhole(TakenFile(id), JsonSerializer.SerializeToUtf8Bytes(taken));

    public async Task<bool> TakeOverAsync(VmSpec vm, CancellationToken cancel)
    {
        Require(vm.Id);
        try
        {
            var taken = FindTaken(vm.Id) ?? await BeginTakeOverAsync(vm, cancel);
            if (File.Exists(FirstDisk(vm.Id)))
            {
                // The Spoke may have been killed between the two.
                await OwnDiskAsync(vm.Id, cancel);
                return true;
            }
            if (await IsOnAsync(taken.Uuid, cancel))
            {
                var now = time.GetUtcNow();
                if (taken.AskedAt is { } at && now - at < AskForeignAgain) return false;
                Save(vm.Id, taken with { AskedAt = now });
                await AskAsync(taken.Uuid, cancel);
                return false;
            }
            await TakeDiskAsync(vm.Id, taken, cancel);
            return true;
        }
        catch (Exception error) when (error is ProblemException or IOException or UnauthorizedAccessException)
        {
            throw new HypervisorException(
                IsFull(error) ? Full : $"The machine could not be taken over: {error.Message}",
                final: IsFull(error), error);
        }
    }

    async Task<Taken> BeginTakeOverAsync(VmSpec vm, CancellationToken cancel)
    {
        var domains = await libvirt.CallAsync("list the machines", Quick, ForeignDomains, cancel);
        var domain = domains.FirstOrDefault(d => d.Uuid == vm.Adopt)
            ?? throw new HypervisorException("The machine to adopt is no longer on this host.", final: true);
        Directory.CreateDirectory(ForeignFolder);
        if (Directory.GetFiles(ForeignFolder, "capsul-*.json").Select(f => FindTaken(IdOf(f)))
            .Any(t => t is { Ended: false } && t.Uuid == domain.Uuid))
            throw new HypervisorException($"{domain.Name} is still being given back.", final: false);
        var machine = (await DescribeAsync(domains, domain.Uuid, cancel)).First(m => m.Uuid == domain.Uuid);
        if (machine.Refusal.Length > 0)
            throw new HypervisorException($"{machine.Name} cannot be adopted. {machine.Refusal}", final: true);
        var definition = ForeignXml.Read(domain.Xml);
        var disk = Outside(definition.Disk)!;
        var owner = (await new Command("stat", "-c", "%u:%g", disk).RunAsync(cancel)).Output.Trim();
        var taken = new Taken(domain.Uuid, domain.Name, disk, owner, definition.Format, definition.Kernel,
            definition.Initrd, definition.CommandLine, domain.Power == DomainPower.On);
        DataFolder.WriteWhole(TakenXml(vm.Id), System.Text.Encoding.UTF8.GetBytes(domain.Xml));
        Save(vm.Id, taken);
        return taken;
    }

    Task<bool> IsOnAsync(string uuid, CancellationToken cancel) =>
        libvirt.CallAsync("find the machine to adopt", Quick, connect =>
        {
            using var domain = Find(virDomainLookupByUUIDString(connect, uuid), LibvirtError.NoDomain);
            if (domain is null) return false;
            Check(virDomainGetState(domain, out var state, out _, 0));
            return ToPower(state) switch
            {
                DomainPower.Off => false,
                DomainPower.Unknown => throw new LibvirtError(LibvirtError.OperationInvalid, "its state is unknown"),
                _ => true,
            };
        }, cancel);

    Task AskAsync(string uuid, CancellationToken cancel) =>
        libvirt.CallAsync("shut the machine to adopt down", Slow, connect =>
        {
            using var domain = Find(virDomainLookupByUUIDString(connect, uuid), LibvirtError.NoDomain);
            if (domain is not null && virDomainShutdownFlags(domain, ByAgent) < 0
                && virDomainShutdownFlags(domain, ByPowerButton) < 0)
                OffAlready();
            return true;
        }, cancel);

    /// <summary>
    /// Moved if it is on the same file system, otherwise copied and compared; the original stays until the end.
    /// </summary>
    async Task TakeDiskAsync(string id, Taken taken, CancellationToken cancel)
    {
        var disk = FirstDisk(id);
        if (await DeviceOfAsync(taken.DiskFrom, cancel) == await DeviceOfAsync(disks, cancel))
        {
            File.Move(taken.DiskFrom, disk);
        }
        else
        {
            var part = Path.Combine(disks, $"{id}.part");
            await (new Command("cp", "--sparse=always", taken.DiskFrom, part) with { Timeout = CopyLimit })
                .RunAsync(cancel);
            await (new Command("cmp", "-s", taken.DiskFrom, part) with { Timeout = CopyLimit }).RunAsync(cancel);
            File.Move(part, disk);
        }
        await OwnDiskAsync(id, cancel);
    }

    Task OwnDiskAsync(string id, CancellationToken cancel) =>
        new Command("chown", $"{qemu.Value.User}:{qemu.Value.Group}", FirstDisk(id)).RunAsync(cancel);

    static async Task<string> DeviceOfAsync(string path, CancellationToken cancel) =>
        (await new Command("stat", "-c", "%d", path).RunAsync(cancel)).Output.Trim();

    public async Task EndTakeOverAsync(string id, CancellationToken cancel)
    {
        Require(id);
        if (FindTaken(id) is not { Ended: false } taken) return;
        await libvirt.CallAsync($"remove the old definition of {id}", Slow, connect =>
        {
            using var domain = Find(virDomainLookupByUUIDString(connect, taken.Uuid), LibvirtError.NoDomain);
            return domain is null ? 0 : Check(virDomainUndefineFlags(domain, UndefineAll));
        }, cancel);
        try
        {
            // Its original, if it was copied.
            if (File.Exists(taken.DiskFrom)) File.Delete(taken.DiskFrom);
            // How it boots is needed as long as the VM exists.
            Save(id, taken with { Ended = true });
            File.Delete(TakenXml(id));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HypervisorException(
                $"What is left of {taken.Name} could not be removed: {error.Message}", final: false, error);
        }
    }

    /// <summary>Everything is as it was found; the caller removes what else there is of the VM.</summary>
    async Task GiveBackAsync(string id, Taken taken, CancellationToken cancel)
    {
        // It may obey late: then it would be off, and was on.
        if (taken is { WasOn: true, AskedAt: { } at } && time.GetUtcNow() - at < LateShutdown
            && await IsOnAsync(taken.Uuid, cancel))
            throw new HypervisorException(
                $"{taken.Name} was asked to shut down, and is given back when it has, or has not for a while.",
                final: false);
        await libvirt.CallAsync($"remove {id}", Slow, connect =>
        {
            using var domain = Lookup(connect, id);
            if (domain is null) return false;
            Destroy(domain);
            Check(virDomainUndefineFlags(domain, UndefineAll));
            return true;
        }, cancel);
        var disk = FirstDisk(id);
        if (File.Exists(disk) && !File.Exists(taken.DiskFrom))
        {
            await new Command("chown", taken.Owner, disk).RunAsync(cancel);
            File.Move(disk, taken.DiskFrom);
        }
        await libvirt.CallAsync($"give {taken.Name} back", Slow, connect => Restore(connect, id, taken), cancel);
        File.Delete(TakenXml(id));
        File.Delete(TakenFile(id));
    }

    bool Restore(ConnectHandle connect, string id, Taken taken)
    {
        using var found = Find(virDomainLookupByUUIDString(connect, taken.Uuid), LibvirtError.NoDomain);
        using var defined = found is null
            ? Check(virDomainDefineXMLFlags(connect, File.ReadAllText(TakenXml(id)), 0)) : null;
        var domain = found ?? defined!;
        Check(virDomainGetState(domain, out var state, out _, 0));
        if (taken.WasOn && ToPower(state) == DomainPower.Off) Check(virDomainCreateWithFlags(domain, 0));
        return true;
    }
}
