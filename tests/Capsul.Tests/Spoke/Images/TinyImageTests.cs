using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Spoke.Hypervisor;
using Capsul.Tests.Support;

namespace Capsul.Tests.Spoke.Images;

/// <summary>What the tiny guest must support for everything else to work.</summary>
[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed class TinyImageTests(RealHypervisor real)
{
    static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    [Fact]
    public async Task The_guest_reboots_grows_to_its_disk_and_accepts_only_its_key()
    {
        var vm = real.Spec("mmmmmmmmmm", 22) with { DiskGb = 3 };
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        await Until.TrueAsync("the guest's file system has grown to its disk of 3 GiB", Limit,
            async () =>
                int.Parse((await real.SshAsync(vm, "df -k /disk | tail -1 | awk '{print $2}'")).Output) > 2_500_000);
        (await real.SshAsync(vm, "true", "root")).ExitCode.ShouldBe(255);
        await ItsIpv6OutlastsALateDhcpReplyAsync(vm);

        var before = await BootAsync(vm);
        await real.SshAsync(vm, "su -c reboot");
        await Until.TrueAsync("the guest has booted again", Limit,
            async () => await BootAsync(vm) is { Length: > 0 } now && now != before);
        await real.Libvirt.RemoveAsync(vm.Id, TestContext.Current.CancellationToken);
    }

    /// <summary>The kernel gives the card its link-local address once, as soon as it is up.</summary>
    async Task ItsIpv6OutlastsALateDhcpReplyAsync(VmSpec vm)
    {
        const string link = "ip -6 address show dev eth0 scope link | grep -c inet6";
        await Until.TrueAsync("there is a link-local address", Limit,
            async () => (await real.SshAsync(vm, link)).Output == "1\n");
        await real.SshAsync(vm, $"su -c 'interface=eth0 ip={vm.Address} mask=24 router=10.77.0.1 /etc/dhcp bound'");
        (await real.SshAsync(vm, link)).Output.ShouldBe("1\n");
    }

    /// <summary>
    /// The boot ID; empty while SSH does not respond. The kernel generates a new one at each boot (random(4)).
    /// </summary>
    async Task<string> BootAsync(VmSpec vm)
    {
        try
        {
            await real.WaitForSshAsync(vm);
            var answer = await real.SshAsync(vm, "cat /proc/sys/kernel/random/boot_id");
            return answer.ExitCode == 0 ? answer.Output.Trim() : "";
        }
        catch (Exception error) when (error is HypervisorException or IOException)
        {
            return ""; // It shut down between the banner and the login.
        }
    }
}
