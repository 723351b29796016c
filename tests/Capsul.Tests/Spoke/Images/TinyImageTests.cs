using System.Diagnostics;
using Capsul.Tests.Spoke.Hypervisor;
using static Capsul.Tests.Spoke.Hypervisor.RealHypervisor;

namespace Capsul.Tests.Spoke.Images;

/// <summary>What the tiny guest must be able to do for the rest to work.</summary>
[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed class TinyImageTests(RealHypervisor real)
{
    [Fact]
    public async Task The_guest_reboots_itself_grows_to_its_disk_and_lets_only_its_key_in()
    {
        var vm = real.Spec("mmmmmmmmmm", 22) with { DiskGb = 3 };
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        var size = 0;
        for (var i = 0; i < 50 && size < 2_500_000; i++)
        {
            size = int.Parse((await real.SshAsync(vm, "df -k /disk | tail -1 | awk '{print $2}'")).Output);
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
        size.ShouldBeGreaterThan(2_500_000);
        (await real.SshAsync(vm, "true", "root")).ExitCode.ShouldBe(255);

        await real.SshAsync(vm, "su -c reboot");
        var watch = Stopwatch.StartNew();
        await Task.Delay(3000, TestContext.Current.CancellationToken);
        await real.WaitForSshAsync(vm);
        Say($"reboot to SSH {watch.ElapsedMilliseconds} ms");
        (await real.SshAsync(vm, "cut -d. -f1 /proc/uptime")).Output.Trim().ShouldSatisfyAllConditions(s => int.Parse(s).ShouldBeLessThan(15));
        await real.Libvirt.RemoveAsync(vm.Id, TestContext.Current.CancellationToken);
    }
}
