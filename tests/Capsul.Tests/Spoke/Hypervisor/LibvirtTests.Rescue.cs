using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>Rescue systems.</summary>
public sealed partial class LibvirtTests
{
    [Fact]
    public async Task A_rescue_system_reads_the_vms_disk_and_leaves_it_as_it_was()
    {
        var own = real.Spec("rescuerosc", 45);
        await real.CreateAsync(own);
        await real.WaitForSshAsync(own);
        (await real.SshAsync(own, "echo precious > note; sync")).ExitCode.ShouldBe(0);
        var ownKey = await KeyAsync();
        var rescued = own with
        {
            HasRun = true,
            // Who could log in to the VM itself need not be the one who can rescue it.
            SshKeys = ["ssh-ed25519 AAAA"],
            Rescue = new RescueSystem(1_700_000_000, real.Tiny.Id, real.Tiny.Sha256, [real.PublicKey]),
        };
        await BootAsync(rescued);
        (await real.Libvirt.FindBootAsync(own.Id, None)).ShouldBe(new VmBoot(0, 1_700_000_000));
        (await KeyAsync()).ShouldNotBe(ownKey);
        (await real.SshAsync(rescued, "hostname")).Output.Trim().ShouldBe("rescue");
        const string mount = "su -c 'mkdir -p /mnt && mount /dev/vdc /mnt && cat /mnt/home/capsul/note "
            + "&& echo repaired > /mnt/home/capsul/note'";
        (await real.SshAsync(rescued, mount)).Output.Trim().ShouldBe("precious");
        await real.Libvirt.DropOtherDisksAsync(rescued, None);
        Left().ShouldContain($"{own.Id}.rescue.1700000000.qcow2", "it runs from that");

        await BootAsync(own with { HasRun = true });
        (await real.Libvirt.FindBootAsync(own.Id, None)).ShouldBe(new VmBoot(0));
        (await KeyAsync()).ShouldBe(ownKey);
        (await real.SshAsync(own, "cat note; hostname")).Output.Trim().ShouldBe($"repaired\n{own.Name}");
        await real.Libvirt.DropOtherDisksAsync(own, None);
        Left().ShouldBe([$"{own.Id}.iso", $"{own.Id}.log", $"{own.Id}.qcow2"], ignoreOrder: true);

        // One that is removed while it is in rescue leaves nothing.
        await real.Libvirt.MakeDiskAsync(rescued, None);
        await real.Libvirt.RemoveAsync(own.Id, None);
        Left().ShouldBeEmpty();
        (await real.Libvirt.FindAsync(own.Id, None)).ShouldBeNull();

        async Task BootAsync(VmSpec vm)
        {
            await real.Libvirt.ShutdownAsync(vm.Id, None);
            await real.WaitForPowerAsync(vm, DomainPower.Off);
            await real.CreateAsync(vm);
            await real.WaitForSshAsync(vm);
        }

        async Task<string> KeyAsync() => ConsoleText.HostKeys(
            await real.Libvirt.ConsoleTailAsync(own.Id, SshReadiness.ConsoleBytes, None)).ShouldHaveSingleItem().Key;

        IEnumerable<string> Left() => ((string[])["disks", "seeds", "consoles"])
            .SelectMany(f => Directory.EnumerateFileSystemEntries(Path.Combine(real.Settings.Data, "spoke", f)))
            .Select(f => Path.GetFileName(f)!).Where(f => f.StartsWith(own.Id, StringComparison.Ordinal));
    }
}
