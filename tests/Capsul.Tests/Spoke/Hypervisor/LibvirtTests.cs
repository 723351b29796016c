using System.Diagnostics;
using Capsul.Spoke.Hypervisor;
using static Capsul.Tests.Spoke.Hypervisor.RealHypervisor;

namespace Capsul.Tests.Spoke.Hypervisor;

[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed class LibvirtTests(RealHypervisor real)
{
    static readonly CancellationToken None = CancellationToken.None;

    [Fact]
    public async Task A_vm_lives_from_disk_to_removal_and_leaves_nothing()
    {
        var vm = real.Spec("aaaaaaaaaa", 10);
        var watch = Stopwatch.StartNew();
        await real.Libvirt.MakeDiskAsync(vm, None);
        var disk = watch.ElapsedMilliseconds;
        await real.Libvirt.DefineAsync(vm, None);
        var define = watch.ElapsedMilliseconds;
        await real.Libvirt.StartAsync(vm, None);
        var start = watch.ElapsedMilliseconds;
        await real.WaitForSshAsync(vm);
        Say($"disk {disk} ms, define {define - disk} ms, start {start - define} ms, start to SSH banner {watch.ElapsedMilliseconds - define} ms");
        (await real.SshAsync(vm, "hostname; df -k /disk | tail -1; echo kept >file; sync")).Output.ShouldStartWith("t10\n");

        var console = await real.Libvirt.ConsoleTailAsync(vm.Id, 4096, None);
        console.ShouldContain("-----BEGIN SSH HOST KEY KEYS-----");
        console.ShouldContain("ssh-ed25519 ");

        watch.Restart();
        await real.Libvirt.ShutdownAsync(vm.Id, None);
        await real.WaitForPowerAsync(vm, DomainPower.Off);
        Say($"shutdown {watch.ElapsedMilliseconds} ms");

        await real.Libvirt.StartAsync(vm, None);
        await real.WaitForSshAsync(vm);
        (await real.SshAsync(vm, "cat file")).Output.ShouldBe("kept\n");
        var keys = (await real.Libvirt.ConsoleTailAsync(vm.Id, 1 << 20, None)).Split('\n').Where(l => l.StartsWith("ssh-ed25519", StringComparison.Ordinal)).ToList();
        keys.Count.ShouldBe(2);
        keys[0].ShouldBe(keys[1]);

        watch.Restart();
        await real.Libvirt.RemoveAsync(vm.Id, None);
        Say($"remove, running {watch.ElapsedMilliseconds} ms");
        await NothingIsLeftAsync(vm);
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    async Task NothingIsLeftAsync(VmSpec vm)
    {
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBeNull();
        (await real.Libvirt.ListAsync(None)).ShouldNotContain(d => d.Id == vm.Id);
        (await real.VirshAsync("list", "--all", "--name")).ShouldNotContain(vm.Id);
        (await real.VirshAsync("vol-list", "capsul")).ShouldNotContain(vm.Id);
        (await real.VirshAsync("net-dumpxml", "capsul")).ShouldNotContain(vm.Id);
        (await real.Sandbox.Inside("nft", "list", "table", "bridge", "capsul").RunAsync(None)).Output.ShouldNotContain(DomainXml.Tap(vm.Id));
        (await real.Sandbox.Inside("ip", "link").RunAsync(None)).Output.ShouldNotContain(DomainXml.Tap(vm.Id));
        Directory.GetFileSystemEntries(Path.Combine(real.Settings.Data, "spoke"), "*" + vm.Id + "*", SearchOption.AllDirectories).ShouldBeEmpty();
        Directory.GetDirectories("/proc").Where(d => int.TryParse(Path.GetFileName(d), out _)).Select(CommandLine).ShouldNotContain(c => c.Contains(vm.Id));
    }

    static string CommandLine(string process)
    {
        try
        {
            return File.ReadAllText(Path.Combine(process, "cmdline"));
        }
        catch (IOException)
        {
            return "";
        }
    }
}
