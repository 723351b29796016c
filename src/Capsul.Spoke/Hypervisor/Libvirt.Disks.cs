using Capsul.Foundation;
using Capsul.Spoke.Images;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Disks, seeds and console logs.</summary>
public sealed partial class Libvirt
{
    /// <summary>With less free space than this, no disk is created, MiB.</summary>
    const int LeastFreeMb = 64;

    const string Full = "The host's disk is full.";

    /// <summary>IDs of QEMU's user and primary group; root where the packages created none.</summary>
    readonly Lazy<(int User, int Group)> qemu = new(QemuUser);

    public async Task MakeDiskAsync(VmSpec vm, CancellationToken cancel)
    {
        Require(vm.Id);
        var disk = DiskFile(vm);
        if ((vm.IsAdopted || vm.HasRun) && !File.Exists(disk)) throw HypervisorException.LostDisk(vm.Id);
        if (!vm.IsAdopted) await MakeFilesAsync(vm, disk, SeedFile(vm), cancel);
        if (vm.Rescue is not null) await MakeRescueAsync(vm, cancel);
    }

    /// <summary>An overlay on the image of a VM, and a seed; keeps what is there and current.</summary>
    async Task MakeFilesAsync(VmSpec vm, string disk, string seed, CancellationToken cancel)
    {
        var (hadDisk, hadSeed) = (File.Exists(disk), File.Exists(seed));
        var isCurrent = hadSeed && await Seed.IsCurrentAsync(vm, seed, cancel);
        if (hadDisk && isCurrent) return;
        // A disk that was received needs no image.
        var image = hadDisk ? null : await ImageAsync(vm, cancel);
        try
        {
            if (new DriveInfo(disks).AvailableFreeSpace >> 20 < LeastFreeMb)
                throw new HypervisorException(Full, final: true);
            await Task.WhenAll(
                image is null ? Task.CompletedTask : MakeVolumeAsync(vm, Path.GetFileName(disk), image, cancel),
                isCurrent ? Task.CompletedTask : Seed.WriteAsync(vm, seed, cancel));
        }
        catch (Exception error)
            when (error is HypervisorException or ProblemException or IOException or OperationCanceledException)
        {
            if (!hadSeed) File.Delete(seed);
            if (!hadDisk) await DeleteVolumeQuietlyAsync(vm.Id, disk);
            throw error switch
            {
                _ when IsFull(error) => new HypervisorException(Full, final: true, error),
                ProblemException or IOException => new HypervisorException(error.Message, final: false, error),
                _ => error,
            };
        }
    }

    public Task<string> ConsoleTailAsync(string id, int maxBytes, CancellationToken cancel)
    {
        Require(id);
        return TailAsync(ConsoleFile(id), maxBytes, cancel);
    }

    async Task<Image> ImageAsync(VmSpec vm, CancellationToken cancel)
    {
        var image = images.Find(vm.ImageId, vm.ImageSha256)
            ?? throw new HypervisorException(images.Current(vm.ImageId) is null
                ? $"The image {vm.ImageId} is not on this host."
                :
                    $"The image {vm.ImageId} is not on this host in version "
                    + $"{vm.ImageSha256[..Math.Min(16, vm.ImageSha256.Length)]}.", final: true);
        if (!await images.VerifyAsync(image, cancel))
            throw new HypervisorException(
                $"The image {vm.ImageId} on this host is damaged: its checksum is not {image.Sha256}.", final: true);
        return image;
    }

    Task MakeVolumeAsync(VmSpec vm, string volume, Image image, CancellationToken cancel)
    {
        var xml = StorageXml.WriteVolume(volume, vm.DiskGb, Inside(images.Disk(image)), qemu.Value);
        return libvirt.CallAsync($"create the disk of {vm.Id}", Slow, connect =>
        {
            using var pool = Check(virStoragePoolLookupByName(connect, StorageXml.Pool));
            using var made = Check(virStorageVolCreateXML(pool, xml, 0));
            return true;
        }, cancel);
    }

    /// <summary>After a failure: the first error is reported, so a second one is only logged.</summary>
    async Task DeleteVolumeQuietlyAsync(string id, string disk)
    {
        try
        {
            await DeleteVolumeAsync(id, Path.GetFileName(disk), CancellationToken.None);
        }
        catch (HypervisorException error)
        {
            Log.LeftFile(log, disk, error);
        }
    }

    async Task DeleteVolumeAsync(string id, string name, CancellationToken cancel)
    {
        await libvirt.CallAsync($"delete the disk of {id}", Slow, connect =>
        {
            using var pool = Check(virStoragePoolLookupByName(connect, StorageXml.Pool));
            using var volume = Find(virStorageVolLookupByName(pool, name), LibvirtError.NoStorageVolume);
            return volume is null ? 0 : Check(virStorageVolDelete(volume, 0));
        }, cancel);
        // A file unknown to the pool, after a crash during its creation.
        File.Delete(Path.Combine(disks, name));
    }

    public async Task<bool> DropOtherDisksAsync(VmSpec vm, CancellationToken cancel)
    {
        Require(vm.Id);
        try
        {
            if (!File.Exists(DiskFile(vm))) return true;
            var others = DisksOf(vm.Id).Where(d => d != vm.Disk).ToList();
            foreach (var disk in others)
            {
                await DeleteVolumeAsync(vm.Id, StorageXml.Volume(vm.Id, disk), cancel);
                foreach (var file in FilesOf(vm.Id, disk)) File.Delete(file);
            }
            await DropRescuesAsync(vm.Id, vm.Boot.Rescue, cancel);
            return others.Count == 0;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HypervisorException(error.Message, final: false, error);
        }
    }

    /// <summary>The numbers of all disks of which there is a file.</summary>
    IReadOnlyList<long> DisksOf(string id) =>
        [.. Files().Select(f => StorageXml.DiskOf(id, Path.GetFileName(f))).OfType<long>().Distinct()];

    IEnumerable<string> FilesOf(string id, long disk) =>
        Files().Where(f => StorageXml.DiskOf(id, Path.GetFileName(f)) == disk).ToList();

    void DeleteFiles(string id)
    {
        // QEMU's own log, in private mode; an external libvirt manages its logs itself.
        var logs = new DirectoryInfo(Path.Combine(settings.Data, "spoke", "libvirt", "log", "qemu"));
        var entries = Files().Where(f => IdOf(f) == id)
            .Concat(logs.Exists ? logs.GetFiles($"{id}.log*").Select(f => f.FullName) : []);
        foreach (var entry in entries)
        {
            if (Directory.Exists(entry)) Directory.Delete(entry, recursive: true);
            else File.Delete(entry);
        }
    }

    bool PreparePool(ConnectHandle connect)
    {
        using var found = Find(virStoragePoolLookupByName(connect, StorageXml.Pool), LibvirtError.NoStoragePool);
        var pool = found
            ?? Check(virStoragePoolDefineXML(connect, StorageXml.WritePool(Private ? Sandbox.DisksInside : disks), 0));
        using (pool)
        {
            Check(virStoragePoolSetAutostart(pool, 1));
            if (Check(virStoragePoolIsActive(pool)) == 0) Check(virStoragePoolCreate(pool, 0));
            else Check(virStoragePoolRefresh(pool, 0));
        }
        return true;
    }

    DomainFiles FilesOf(VmSpec vm, string? kernel, string? initrd) => new(
        Inside(DiskFile(vm)), Inside(SeedFile(vm)), Inside(ConsoleFile(vm.Id)), ConsoleSocketInside(vm.Id),
        kernel is null ? null : Inside(kernel), initrd is null ? null : Inside(initrd));

    /// <summary>A machine that was adopted boots as it did before, and has no seed: it would be set up anew.</summary>
    DomainFiles FilesOf(VmSpec vm, Taken taken) => new(
        Inside(DiskFile(vm)), null, Inside(ConsoleFile(vm.Id)), ConsoleSocketInside(vm.Id), taken.Kernel,
        taken.Initrd)
    {
        Format = taken.Format,
    };

    string SeedFile(VmSpec vm) => Path.Combine(seeds, $"{StorageXml.Stem(vm.Id, vm.Disk)}.iso");

    string ConsoleFile(string id) => Path.Combine(consoles, $"{id}.log");

    /// <summary>
    /// The same file as QEMU sees it. The sandbox has its own paths, so that the permissions of ours do not matter.
    /// </summary>
    string Inside(string path)
    {
        if (!Private) return path;
        foreach (var (outside, inside) in ((string, string)[])[(disks, Sandbox.DisksInside),
            (seeds, Sandbox.SeedsInside),
            (consoles, Sandbox.ConsolesInside), (images.Folder, Sandbox.ImagesInside)])
        {
            if (path.StartsWith(outside + "/", StringComparison.Ordinal)) return inside + path[outside.Length..];
        }
        throw new ArgumentException($"{path} is in none of the sandbox's folders.", nameof(path));
    }

    static async Task<string> TailAsync(string file, int maxBytes, CancellationToken cancel)
    {
        try
        {
            await using var stream =
                new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            stream.Seek(-Math.Min(stream.Length, maxBytes), SeekOrigin.End);
            using var reader = new StreamReader(stream);
            return await reader.ReadToEndAsync(cancel);
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return "";
        }
    }

    /// <summary>
    /// libvirt and genisoimage have no error code for it; this is the C library's message in the C locale.
    /// </summary>
    static bool IsFull(Exception error) =>
        error.Message.Contains("No space left on device", StringComparison.Ordinal)
        || error is ProblemException { Problem.Detail: { } detail }
            && detail.Contains("No space left", StringComparison.Ordinal);

    static (int User, int Group) QemuUser() =>
        SystemUser.Find("libvirt-qemu", "qemu") is { } user ? (user.Id, user.Group) : (0, 0);
}
