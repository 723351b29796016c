using System.Diagnostics;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Tests.Spoke.Hypervisor;
using static Capsul.Tests.Spoke.Hypervisor.RealHypervisor;

namespace Capsul.Tests.Spoke.Images;

public sealed class DebianSourceTests
{
    [Fact]
    public void All_parts_of_bookworm_are_taken_from_where_this_machine_gets_them() =>
        DebianImage.Sources("http://mirror/debian/ bookworm\nhttp://mirror/debian/ bookworm\nhttp://mirror/sec/ bookworm-security\nhttps://other/ nodistro\n")
            .ShouldBe(["deb http://mirror/debian/ bookworm main", "deb http://mirror/sec/ bookworm-security main"]);

    [Fact]
    public void A_machine_without_bookworm_has_no_sources_to_offer() => DebianImage.Sources("http://mirror/debian/ trixie\n").ShouldBeEmpty();

    [Fact]
    public void The_boot_sector_names_one_bootable_linux_partition()
    {
        var sector = DebianImage.BootSector(new byte[512], 2048, 4096);
        sector[446..462].ShouldBe<byte>([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff, 0, 8, 0, 0, 0, 16, 0, 0]);
        sector[510..].ShouldBe<byte>([0x55, 0xaa]);
    }
}

/// <summary>Builds Debian when it is not there and boots it: minutes without KVM, so only when asked for (-explicit on).</summary>
[Trait("Group", "debian"), Collection(nameof(RealHypervisor))]
public sealed class DebianImageTests(RealHypervisor real)
{
    [Fact(Explicit = true)]
    public async Task Debian_boots_by_itself_and_lets_its_user_in()
    {
        var none = CancellationToken.None;
        var watch = Stopwatch.StartNew();
        var image = real.Images.Current(DebianImage.Id) ?? await DebianImage.BuildAsync(real.Images, p => { }, none);
        Say($"debian image after {watch.Elapsed.TotalSeconds:0} s, {new FileInfo(real.Images.Disk(image)).Length >> 20} MiB");
        var vm = real.Spec("zzzzzzzzzz", 40) with { ImageId = image.Id, ImageSha256 = image.Sha256, MemoryMb = 768, DiskGb = 4, Vcpus = 2 };
        watch.Restart();
        await real.CreateAsync(vm);
        try
        {
            await real.WaitForSshAsync(vm, 240);
            Say($"debian start to SSH banner {watch.Elapsed.TotalSeconds:0.0} s");
            var login = await real.SshAsync(vm, "hostname; sudo id -u; df -BG / | tail -1; systemd-analyze; systemd-analyze blame | head -15; systemctl --failed", "debian");
            Say(login.Output + login.Error);
            login.Output.ShouldStartWith("t40\n0\n");
            for (var i = 0; i < 300 && !(await real.Libvirt.ConsoleTailAsync(vm.Id, 1 << 16, none)).Contains("END SSH HOST KEY KEYS"); i++) await Task.Delay(200, none);
            Say($"debian start to host keys {watch.Elapsed.TotalSeconds:0.0} s");
            (await real.Libvirt.ConsoleTailAsync(vm.Id, 1 << 16, none)).ShouldContain("-----BEGIN SSH HOST KEY KEYS-----");
            watch.Restart();
            await real.Libvirt.ShutdownAsync(vm.Id, none);
            await real.WaitForPowerAsync(vm, DomainPower.Off, 60);
            Say($"debian shutdown {watch.Elapsed.TotalSeconds:0.0} s");
        }
        finally
        {
            Say(await real.Libvirt.ConsoleTailAsync(vm.Id, 3000, none));
            await real.Libvirt.RemoveAsync(vm.Id, none);
        }
    }
}
