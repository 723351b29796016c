using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>Disks that go and come, without guests: what leaves, and what is let in.</summary>
public sealed partial class LibvirtTests
{
    static readonly string Transfer = new('a', 32);

    static IncomingDisk Incoming(byte[] bytes, long disk, string? sum = null) => new(
        new TransferHeader { DiskBytes = disk, KernelBytes = bytes.Length - disk, CommandLine = "quiet" },
        PartsAsync(bytes), () => sum ?? Convert.ToHexStringLower(SHA256.HashData(bytes)));

    static async IAsyncEnumerable<ReadOnlyMemory<byte>> PartsAsync(byte[] bytes)
    {
        foreach (var part in bytes.Chunk(100_000)) yield return part;
        await Task.CompletedTask;
    }

    string DiskOf(VmSpec vm) => Path.Combine(real.Settings.Data, "spoke", "disks", $"{vm.Id}.qcow2");

    IEnumerable<string> FilesOf(VmSpec vm) =>
        Directory.EnumerateFiles(Path.Combine(real.Settings.Data, "spoke", "disks"), $"{vm.Id}*")
            .Select(f => Path.GetFileName(f)!);

    /// <summary>A qcow2 file that qemu-img makes.</summary>
    static async Task<byte[]> MakeAsync(params string[] arguments)
    {
        var file = Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        try
        {
            await new Command("qemu-img", ["create", "-q", "-f", "qcow2", .. arguments, file, "1G"]).RunAsync(None);
            return await File.ReadAllBytesAsync(file, None);
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public async Task A_disk_leaves_as_one_that_stands_alone_with_its_kernel_and_is_let_in_again()
    {
        var vm = real.Spec("movesaaaaa", 60);
        await real.Libvirt.MakeDiskAsync(vm, None);
        var export = await real.Libvirt.ExportDiskAsync(vm, Transfer, None);
        using var all = new MemoryStream();
        await foreach (var part in export.ReadAsync(None)) all.Write(part.Span);
        var bytes = all.ToArray();
        bytes.Length.ShouldBe((int)(export.Header.DiskBytes + export.Header.KernelBytes + export.Header.InitrdBytes));
        export.Header.KernelBytes.ShouldBeGreaterThan(0);
        Qcow2.Check(bytes, 1L << 30).ShouldBeNull();
        FilesOf(vm).ShouldContain($"{vm.Id}.export-{Transfer}");
        await real.Libvirt.DropExportsAsync(vm.Id, None);
        FilesOf(vm).ShouldBe([$"{vm.Id}.qcow2"]);

        var disk = new IncomingDisk(export.Header, PartsAsync(bytes),
            () => Convert.ToHexStringLower(SHA256.HashData(bytes)));
        (await Should.ThrowAsync<HypervisorException>(() => real.Libvirt.ImportDiskAsync(vm, Transfer, disk, None)))
            .Message.ShouldContain("already a disk", customMessage: "a disk that was used is never replaced");
        await real.Libvirt.RemoveAsync(vm.Id, None);
        (await real.Libvirt.FindImportAsync(vm, Transfer, None)).ShouldBeNull();
        var sum = await real.Libvirt.ImportDiskAsync(vm, Transfer, disk, None);
        (await real.Libvirt.FindImportAsync(vm, Transfer, None)).ShouldBe(sum);
        (await real.Libvirt.FindImportAsync(vm, new string('b', 32), None)).ShouldBeNull();
        File.GetUnixFileMode(DiskOf(vm)).ShouldBe(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        (await real.VirshAsync("vol-list", "capsul")).ShouldContain(vm.Id);
        // Without its image: the kernel has come with it.
        var bare = vm with { ImageSha256 = new string('0', 64), HasRun = true };
        await real.Libvirt.MakeDiskAsync(bare, None);
        await real.Libvirt.DefineAsync(bare, None);
        (await real.VirshAsync("dumpxml", vm.Id)).ShouldContain($"{vm.Id}.kernel");
        await real.Libvirt.RemoveAsync(vm.Id, None);
        FilesOf(vm).ShouldBeEmpty();
    }

    [Fact]
    public async Task What_does_not_stand_alone_or_is_not_whole_is_refused_and_leaves_nothing()
    {
        var vm = real.Spec("movesbbbbb", 61);
        var good = await MakeAsync();
        var based = await MakeAsync("-b", "/etc/passwd", "-F", "raw", "-u");
        var outside = await MakeAsync("-o", $"data_file={Path.GetTempFileName()},data_file_raw=on");
        (byte[] Bytes, string Says)[] bad = [("#!/bin/sh"u8.ToArray(), "not a qcow2 file"),
            (based, "based on another file"), (outside, "data is in another file"),
            ([.. good.AsSpan(0, 24), .. new byte[8], .. good.AsSpan(32)], "instead of")];
        foreach (var (bytes, says) in bad)
        {
            var refused = await Should.ThrowAsync<HypervisorException>(
                () => real.Libvirt.ImportDiskAsync(vm, Transfer, Incoming(bytes, bytes.Length), None));
            refused.Message.ShouldContain(says);
            refused.Final.ShouldBeTrue();
            File.Exists(DiskOf(vm)).ShouldBeFalse();
        }
        await Should.ThrowAsync<TransferException>(() => real.Libvirt.ImportDiskAsync(
            vm, Transfer, Incoming(good, good.Length, new string('0', 64)), None));
        await Should.ThrowAsync<TransferException>(() => real.Libvirt.ImportDiskAsync(
            vm, Transfer, Incoming(good, good.Length + 1), None));
        FilesOf(vm).ShouldBeEmpty();
    }
}
