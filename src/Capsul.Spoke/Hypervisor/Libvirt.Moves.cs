using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Disks that go to or come from other hosts. A disk that was received stands alone: it is based on no image, and the
/// kernel that it is booted with, if any, has come with it. All files are named after the VM, so that removing it
/// removes them.
/// </summary>
public sealed partial class Libvirt
{
    /// <summary>Flattening writes at least this fast; or the host is useless.</summary>
    const double LeastGibPerMinute = 1;

    const UnixFileMode Private600 = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>How a disk that was received is booted, and which transfer has brought it.</summary>
    sealed record Boot(string Transfer, string Sha256, bool HasKernel, bool HasInitrd, string CommandLine);

    string DiskFile(VmSpec vm) => Path.Combine(disks, StorageXml.Volume(vm.Id, vm.Disk));

    string KernelFile(VmSpec vm) => Path.Combine(disks, $"{StorageXml.Stem(vm.Id, vm.Disk)}.kernel");

    string InitrdFile(VmSpec vm) => Path.Combine(disks, $"{StorageXml.Stem(vm.Id, vm.Disk)}.initrd");

    string BootFile(VmSpec vm) => Path.Combine(disks, $"{StorageXml.Stem(vm.Id, vm.Disk)}.boot");

    public async Task<DiskExport> ExportDiskAsync(VmSpec vm, string transfer, CancellationToken cancel)
    {
        Require(vm.Id);
        var (disk, export) = (DiskFile(vm), Path.Combine(disks, $"{vm.Id}.export-{transfer}"));
        if (!File.Exists(disk)) throw HypervisorException.LostDisk(vm.Id);
        var (kernel, initrd, commandLine) = await BootFilesAsync(vm, cancel);
        if (!File.Exists(export)) await FlattenAsync(vm, disk, export, cancel);
        string[] files = [export, .. new[] { kernel, initrd }.OfType<string>()];
        return new DiskExport(new TransferHeader
        {
            DiskBytes = new FileInfo(export).Length,
            KernelBytes = kernel is null ? 0 : new FileInfo(kernel).Length,
            InitrdBytes = initrd is null ? 0 : new FileInfo(initrd).Length,
            CommandLine = kernel is null ? "" : commandLine ?? "",
        }, token => ReadAsync(files, token));
    }

    /// <summary>Writes a disk with its image into one file, which counts once it has its final name.</summary>
    async Task FlattenAsync(VmSpec vm, string disk, string export, CancellationToken cancel)
    {
        var part = export + "-part";
        try
        {
            var image = images.Find(vm.ImageId, vm.ImageSha256) is { } based && !File.Exists(BootFile(vm))
                ? new FileInfo(images.Disk(based)).Length : 0;
            RequireSpace(new FileInfo(disk).Length + image);
            // qemu-img keeps the mode of a file that is there.
            await Create(part, Private600).DisposeAsync();
            var limit = TimeSpan.FromMinutes(5 + vm.DiskGb / LeastGibPerMinute);
            await (Program("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-o", "compat=1.1", Inside(disk),
                Inside(part)) with
            { Timeout = limit }).RunAsync(cancel);
            File.Move(part, export, overwrite: true);
        }
        catch (Exception error) when (error is ProblemException or IOException or UnauthorizedAccessException)
        {
            throw IsFull(error) ? new HypervisorException(Full, final: true, error)
                : new HypervisorException($"The disk of {vm.Id} could not be copied: {error.Message}", false, error);
        }
        finally
        {
            File.Delete(part);
        }
    }

    static FileStream Create(string file, UnixFileMode mode) => new(file, new FileStreamOptions
    {
        Mode = FileMode.Create,
        Access = FileAccess.Write,
        UnixCreateMode = mode,
    });

    void RequireSpace(long bytes)
    {
        var free = new DriveInfo(disks).AvailableFreeSpace - ((long)LeastFreeMb << 20);
        if (free < bytes)
            throw new HypervisorException($"{Full} A copy needs {(bytes >> 20) + 1} MiB; {Math.Max(0, free >> 20)} MiB "
                + "are free.", final: true);
    }

    static async IAsyncEnumerable<ReadOnlyMemory<byte>> ReadAsync(
        string[] files, [EnumeratorCancellation] CancellationToken cancel)
    {
        foreach (var file in files)
        {
            await using var stream = File.OpenRead(file);
            while (true)
            {
                // A new one each time: a message that is being sent keeps it.
                var buffer = new byte[TransferLimits.ChunkBytes];
                var read = await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancel);
                if (read == 0) break;
                yield return buffer.AsMemory(0, read);
            }
        }
    }

    public Task DropExportsAsync(string id, CancellationToken cancel)
    {
        Require(id);
        try
        {
            foreach (var file in Directory.EnumerateFiles(disks, $"{id}.export-*")) File.Delete(file);
            return Task.CompletedTask;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HypervisorException(error.Message, final: false, error);
        }
    }

    public async Task<string?> FindImportAsync(VmSpec vm, string transfer, CancellationToken cancel) =>
        File.Exists(DiskFile(vm)) && await ReadBootAsync(vm, cancel) is { } boot && boot.Transfer == transfer
            ? boot.Sha256 : null;

    public async Task<string> ImportDiskAsync(VmSpec vm, string transfer, IncomingDisk disk, CancellationToken cancel)
    {
        Require(vm.Id);
        if (File.Exists(DiskFile(vm)))
            throw new HypervisorException($"There is already a disk of {vm.Id} on this host.", final: true);
        RequireSpace(disk.Bytes);
        var part = Path.Combine(disks, $"{vm.Id}.incoming");
        try
        {
            var sum = await WriteAsync(vm, part, disk, cancel);
            if (sum != disk.Sha256()) throw new TransferException("What arrived is not what was sent.");
            await RequireAloneAsync(vm, part, cancel);
            await Program("chown", $"{qemu.Value.User}:{qemu.Value.Group}", Inside(part)).RunAsync(cancel);
            var (header, json) = (disk.Header, JsonSerializerOptions.Default);
            var boot = new Boot(transfer, sum, header.KernelBytes > 0, header.InitrdBytes > 0, header.CommandLine);
            await DataFolder.WriteWholeAsync(
                BootFile(vm), JsonSerializer.SerializeToUtf8Bytes(boot, json), cancel);
            File.Move(part, DiskFile(vm));
            await RefreshPoolAsync(cancel);
            return sum;
        }
        catch (Exception error) when (error is ProblemException or IOException or UnauthorizedAccessException)
        {
            throw IsFull(error) ? new HypervisorException(Full, final: true, error)
                : new HypervisorException($"The disk of {vm.Id} could not be stored: {error.Message}", false, error);
        }
        finally
        {
            File.Delete(part);
        }
    }

    /// <summary>Writes the content to its files, on the medium; returns its checksum.</summary>
    async Task<string> WriteAsync(VmSpec vm, string part, IncomingDisk disk, CancellationToken cancel)
    {
        (string File, long Bytes)[] files = [(part, disk.Header.DiskBytes), (KernelFile(vm), disk.Header.KernelBytes),
            (InitrdFile(vm), disk.Header.InitrdBytes)];
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var content = disk.Content.GetAsyncEnumerator(cancel);
        var rest = ReadOnlyMemory<byte>.Empty;
        foreach (var (file, bytes) in files.Where(f => f.Bytes > 0))
        {
            // QEMU reads the kernel as its own user.
            await using var stream = Create(file, file == part ? Private600 : (UnixFileMode)0b110_100_100);
            for (var left = bytes; left > 0;)
            {
                if (rest.IsEmpty)
                {
                    if (!await content.MoveNextAsync()) throw new TransferException("The transfer ended early.");
                    rest = content.Current;
                    hash.AppendData(rest.Span);
                }
                var take = (int)Math.Min(left, rest.Length);
                await stream.WriteAsync(rest[..take], cancel);
                (rest, left) = (rest[take..], left - take);
            }
            stream.Flush(flushToDisk: true);
        }
        if (!rest.IsEmpty || await content.MoveNextAsync())
            throw new TransferException("The other host sent more than it announced.");
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    /// <summary>
    /// First without any program that opens the file; then as QEMU sees it. Only a file that stands alone may be used.
    /// </summary>
    async Task RequireAloneAsync(VmSpec vm, string file, CancellationToken cancel)
    {
        var wrong = await Qcow2.CheckAsync(file, (long)vm.DiskGb << 30, cancel);
        if (wrong is null)
        {
            var info = await Program("qemu-img", "info", "--output=json", "-f", "qcow2", Inside(file))
                .RunAsync(cancel);
            using var json = JsonDocument.Parse(info.Output);
            var root = json.RootElement;
            if (root.TryGetProperty("backing-filename", out _)
                || (root.TryGetProperty("format-specific", out var more) && more.TryGetProperty("data", out var data)
                    && data.TryGetProperty("data-file", out _)))
                wrong = "it is based on another file";
        }
        if (wrong is not null)
            throw new HypervisorException(
                $"What the other host sent as the disk of {vm.Id} is refused: {wrong}.", final: true);
    }

    Task RefreshPoolAsync(CancellationToken cancel) => libvirt.CallAsync("read the storage pool again", Slow, connect =>
    {
        using var pool = Check(virStoragePoolLookupByName(connect, StorageXml.Pool));
        return Check(virStoragePoolRefresh(pool, 0));
    }, cancel);

    async Task<Boot?> ReadBootAsync(VmSpec vm, CancellationToken cancel)
    {
        try
        {
            return File.Exists(BootFile(vm))
                ? JsonSerializer.Deserialize<Boot>(await File.ReadAllBytesAsync(BootFile(vm), cancel)) : null;
        }
        catch (Exception error) when (error is JsonException or IOException)
        {
            throw new HypervisorException($"{BootFile(vm)} cannot be read: {error.Message}", final: true, error);
        }
    }

    /// <summary>What a VM is booted with: its own kernel, that of its image, or none.</summary>
    async Task<(string? Kernel, string? Initrd, string? CommandLine)> BootFilesAsync(
        VmSpec vm, CancellationToken cancel)
    {
        if (await ReadBootAsync(vm, cancel) is { } boot)
            return (boot.HasKernel ? KernelFile(vm) : null, boot.HasInitrd ? InitrdFile(vm) : null,
                boot.CommandLine.Length > 0 ? boot.CommandLine : null);
        var image = await ImageAsync(vm, cancel);
        return (images.Kernel(image), images.Initrd(image), image.CommandLine);
    }
}
