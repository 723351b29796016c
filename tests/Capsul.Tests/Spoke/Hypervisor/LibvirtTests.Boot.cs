using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>Several disks of one VM.</summary>
public sealed partial class LibvirtTests
{
    [Fact]
    public async Task A_new_disk_has_other_data_and_host_keys_and_the_old_one_can_be_put_back()
    {
        var old = real.Spec("disksdisks", 44);
        await real.CreateAsync(old);
        await real.WaitForSshAsync(old);
        (await real.SshAsync(old, "echo old > note")).ExitCode.ShouldBe(0);
        (await real.Libvirt.FindBootAsync(old.Id, None)).ShouldBe(new VmBoot(0));
        var oldKey = await KeyAsync(old);
        var made = old with { Disk = 1_700_000_000 };
        await BootAsync(made);
        (await real.Libvirt.FindBootAsync(old.Id, None)).ShouldBe(made.Boot);
        (await real.SshAsync(made, "cat note || echo gone")).Output.Trim().ShouldEndWith("gone");
        (await KeyAsync(made)).ShouldNotBe(oldKey);

        await BootAsync(old);
        (await real.SshAsync(old, "cat note")).Output.Trim().ShouldBe("old");
        (await KeyAsync(old)).ShouldBe(oldKey);
        await real.Libvirt.DropOtherDisksAsync(old, None);
        Left().ShouldNotContain(f => f.Contains("1700000000", StringComparison.Ordinal));
        await real.Libvirt.DropOtherDisksAsync(made, None);
        Left().ShouldContain($"{old.Id}.qcow2", "one whose own disk is missing keeps the others");
        await real.Libvirt.RemoveAsync(old.Id, None);
        Left().ShouldBeEmpty();
        (await real.Libvirt.FindAsync(old.Id, None)).ShouldBeNull();

        async Task BootAsync(VmSpec vm)
        {
            await real.Libvirt.ShutdownAsync(vm.Id, None);
            await real.WaitForPowerAsync(vm, DomainPower.Off);
            (await real.Libvirt.FindBootAsync(vm.Id, None)).ShouldBeNull();
            await real.CreateAsync(vm);
            await real.WaitForSshAsync(vm);
        }

        async Task<string> KeyAsync(VmSpec vm)
        {
            var console = await real.Libvirt.ConsoleTailAsync(vm.Id, SshReadiness.ConsoleBytes, None);
            console.Split("-----BEGIN SSH HOST KEY KEYS-----").Length.ShouldBe(2, "of this system alone");
            return ConsoleText.HostKeys(console).ShouldHaveSingleItem().Key;
        }

        IEnumerable<string> Left() => ((string[])["disks", "seeds", "consoles"])
            .SelectMany(f => Directory.EnumerateFileSystemEntries(Path.Combine(real.Settings.Data, "spoke", f)))
            .Select(f => Path.GetFileName(f)!).Where(f => f.StartsWith(old.Id, StringComparison.Ordinal));
    }
}
