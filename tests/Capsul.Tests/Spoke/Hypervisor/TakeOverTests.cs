using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Capsul.Wire;
using ForeignMachine = Capsul.Spoke.Hypervisor.ForeignMachine;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>A machine that somebody made with virsh becomes a VM, and is given back as it was found.</summary>
[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed class TakeOverTests(RealHypervisor real)
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken None => TestContext.Current.CancellationToken;

    string Folder => Path.Combine(real.Settings.Data, "spoke", "libvirt", "lib", "by-hand");

    [Fact]
    public async Task A_foreign_machine_is_taken_over_with_its_disk_given_back_and_taken_over_for_good()
    {
        const string mac = "52:54:00:77:00:01";
        var disk = await DefineAsync("legacy", mac);
        await VirshAsync("start", "legacy");
        var machine = (await real.Libvirt.ForeignAsync(None)).ShouldHaveSingleItem();
        (machine.Name, machine.Power, machine.Vcpus, machine.MemoryMb, machine.DiskFormat, machine.Mac,
            machine.Refusal).ShouldBe(("legacy", DomainPower.On, 1, 256, "qcow2", mac, ""));
        machine.DiskGb.ShouldBe(1);
        var before = await real.VirshAsync("dumpxml", "--inactive", "legacy");
        await Until.TrueAsync("it has booted", Limit, async () =>
            (await ConsoleAsync("legacy")).Contains("BEGIN SSH HOST KEY", StringComparison.Ordinal));

        var vm = Spec("nnnnnnnnnn", 23, machine);
        await TakeOverAsync(vm);
        File.Exists(disk).ShouldBeFalse("its disk was moved");
        (await real.Libvirt.ForeignAsync(None)).ShouldHaveSingleItem().Power.ShouldBe(DomainPower.Off);
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        (await real.SshAsync(vm, "cat /proc/cmdline")).ExitCode.ShouldNotBe(0, "it has the keys that it had: none");

        await real.Libvirt.RemoveAsync(vm.Id, None);
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBeNull();
        File.Exists(disk).ShouldBeTrue();
        (await real.Libvirt.ForeignAsync(None)).ShouldHaveSingleItem().Power.ShouldBe(DomainPower.On, "as it was");
        (await real.VirshAsync("dumpxml", "--inactive", "legacy")).ShouldBe(before);
        Directory.GetFiles(Path.Combine(real.Settings.Data, "spoke", "foreign")).ShouldBeEmpty();

        await real.VirshAsync("destroy", "legacy");
        await TakeOverAsync(vm);
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        for (var n = 0; n < 2; n++) await real.Libvirt.EndTakeOverAsync(vm.Id, None);
        (await real.Libvirt.ForeignAsync(None)).ShouldBeEmpty();
        await real.Libvirt.TurnOffAsync(vm.Id, None);
        await real.CreateAsync(vm);
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBe(DomainPower.On);
        await real.Libvirt.RemoveAsync(vm.Id, None);
        File.Exists(disk).ShouldBeFalse("it was Capsul's");
        (await real.Libvirt.FindAsync(vm.Id, None)).ShouldBeNull();
        Directory.GetFiles(Path.Combine(real.Settings.Data, "spoke", "foreign")).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_snapshot_and_a_backing_file_elsewhere_are_refused_and_the_machine_is_left_alone()
    {
        var disk = await DefineAsync("layered", "52:54:00:77:00:02");
        var layer = disk + ".layer";
        await new Command("mv", disk, layer).RunAsync(None);
        await new Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", "/var/lib/libvirt/by-hand/"
            + Path.GetFileName(layer), "-F", "qcow2", "-u", disk, "1G").RunAsync(None);
        try
        {
            var machine = (await real.Libvirt.ForeignAsync(None)).ShouldHaveSingleItem();
            machine.Refusal.ShouldContain("a backing file");
            (await Should.ThrowAsync<HypervisorException>(
                () => real.Libvirt.TakeOverAsync(Spec("oooooooooo", 24, machine), None)))
                .ShouldSatisfyAllConditions(e => e.Final.ShouldBeTrue(),
                    e => e.Message.ShouldStartWith("layered cannot be adopted. "));
            await real.Libvirt.RemoveAsync("capsul-oooooooooo", None);
            File.Exists(disk).ShouldBeTrue();
        }
        finally
        {
            await real.VirshAsync("undefine", "layered");
        }
    }

    [Fact]
    public async Task A_take_over_goes_on_after_a_crash_and_ends_although_the_old_folder_is_gone()
    {
        await DefineAsync("halfway", "52:54:00:77:00:18");
        var vm = Spec("rrrrrrrrrr", 26, (await real.Libvirt.ForeignAsync(None)).ShouldHaveSingleItem());
        await TakeOverAsync(vm);
        // As if the Spoke had been killed when it had moved the disk.
        await new Command("chown", "root:root", DiskOf(vm.Id)).RunAsync(None);
        await TakeOverAsync(vm);
        (await new Command("stat", "-c", "%U", DiskOf(vm.Id)).RunAsync(None)).Output.Trim().ShouldBe("libvirt-qemu");
        Directory.Delete(Folder, recursive: true);
        await real.Libvirt.EndTakeOverAsync(vm.Id, None);
        (await real.Libvirt.ForeignAsync(None)).ShouldBeEmpty();
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    [Fact]
    public async Task A_disk_that_others_need_is_refused()
    {
        string[] names = ["base", "overlay", "one", "two", "image", "capsul", "link", "readonly"];
        const string inside = "/var/lib/libvirt/by-hand";
        var image = real.Images.Disk(real.Tiny).Replace(
            real.Images.Folder, Sandbox.ImagesInside, StringComparison.Ordinal);
        try
        {
            await DefineAsync("base", "52:54:00:77:00:10");
            var overlay = await DefineAsync("overlay", "52:54:00:77:00:11");
            await new Command("qemu-img", "create", "-q", "-f", "qcow2", "-b", $"{inside}/base.qcow2", "-F", "qcow2",
                "-u", overlay, "1G").RunAsync(None);
            await DefineAsync("one", "52:54:00:77:00:12");
            await DefineAsync("two", "52:54:00:77:00:13", $"{inside}/one.qcow2");
            await DefineAsync("image", "52:54:00:77:00:14", image);
            await DefineAsync("capsul", "52:54:00:77:00:15", $"{Sandbox.DisksInside}/capsul-pppppppppp.qcow2");
            await new Command("cp", real.Images.Disk(real.Tiny), DiskOf("capsul-pppppppppp")).RunAsync(None);
            var link = await DefineAsync("link", "52:54:00:77:00:16");
            await new Command("mv", link, link + ".real").RunAsync(None);
            await new Command("ln", "-s", "link.qcow2.real", link).RunAsync(None);
            await DefineAsync("readonly", "52:54:00:77:00:17", more: "<readonly/>");

            var refusals = (await real.Libvirt.ForeignAsync(None)).ToDictionary(m => m.Name, m => m.Refusal,
                StringComparer.Ordinal);
            refusals["base"].ShouldBe("Another machine needs its disk.");
            refusals["overlay"].ShouldContain("a backing file");
            refusals["one"].ShouldBe("Another machine needs its disk.");
            refusals["two"].ShouldBe("Another machine needs its disk.");
            refusals["image"].ShouldBe("Its disk is one of Capsul's images.");
            refusals["capsul"].ShouldBe("Its disk is that of a capsul.");
            refusals["link"].ShouldBe("Its disk is a symbolic link.");
            refusals["readonly"].ShouldBe("Its disk is read-only or shared.");
            var machine = (await real.Libvirt.ForeignAsync(None)).Single(m => m.Name == "one");
            (await Should.ThrowAsync<HypervisorException>(
                () => real.Libvirt.TakeOverAsync(Spec("qqqqqqqqqq", 25, machine), None))).Final.ShouldBeTrue();
        }
        finally
        {
            foreach (var name in names)
                await new Command("virsh", "-q", "-c", real.Sandbox.Uri, "undefine", name).TryRunAsync(None);
            File.Delete(DiskOf("capsul-pppppppppp"));
        }
    }

    string DiskOf(string id) => Path.Combine(real.Settings.Data, "spoke", "disks", $"{id}.qcow2");

    async Task TakeOverAsync(VmSpec vm) => await Until.TrueAsync("it is taken over", Limit,
        () => real.Libvirt.TakeOverAsync(vm, None));

    VmSpec Spec(string letters, int number, ForeignMachine machine) => real.Spec(letters, number) with
    {
        ImageId = Protocol.AdoptedImage,
        ImageSha256 = new string('0', 64),
        Mac = machine.Mac,
        HasRun = true,
        Adopt = machine.Uuid,
    };

    Task<string> ConsoleAsync(string name) => File.Exists(Path.Combine(Folder, name + ".log"))
        ? File.ReadAllTextAsync(Path.Combine(Folder, name + ".log"), None) : Task.FromResult("");

    /// <summary>The tiny image, as somebody would define it by hand; returns its disk.</summary>
    async Task<string> DefineAsync(string name, string mac, string? source = null, string more = "")
    {
        Directory.CreateDirectory(Folder);
        var disk = Path.Combine(Folder, name + ".qcow2");
        await new Command("cp", real.Images.Disk(real.Tiny), disk).RunAsync(None);
        await new Command("chmod", "0600", disk).RunAsync(None);
        await new Command("chown", "-R", "libvirt-qemu:", Folder).RunAsync(None);
        var xml = Path.Combine(real.Settings.Data, name + ".xml");
        string Inside(string file) => file.Replace(
            real.Images.Folder, Sandbox.ImagesInside, StringComparison.Ordinal);
        await File.WriteAllTextAsync(xml, $"""
            <domain type='qemu'>
              <name>{name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
              <os><type arch='x86_64' machine='q35'>hvm</type>
                <kernel>{Inside(real.Images.Kernel(real.Tiny)!)}</kernel>
                <initrd>{Inside(real.Images.Initrd(real.Tiny)!)}</initrd>
                <cmdline>{real.Tiny.CommandLine ?? "console=ttyS0"}</cmdline></os>
              <features><acpi/></features>
              <devices>
                <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
                  <source file='{source ?? $"/var/lib/libvirt/by-hand/{name}.qcow2"}'/>
                  <target dev='vda' bus='virtio'/>{more}</disk>
                <interface type='network'><mac address='{mac}'/><source network='capsul'/>
                  <model type='virtio'/><rom enabled='no'/></interface>
                <controller type='usb' model='none'/>
                <serial type='pty'><log file='/var/lib/libvirt/by-hand/{name}.log' append='on'/></serial>
                <memballoon model='none'/>
              </devices>
            </domain>
            """, None);
        await VirshAsync("define", xml);
        return disk;
    }

    Task VirshAsync(params string[] arguments) =>
        new Command("virsh", ["-q", "-c", real.Sandbox.Uri, .. arguments]).RunAsync(None);
}
