using System.Diagnostics;
using System.Globalization;
using Capsul.Spoke.Images;
using Capsul.Tests.Spoke.Hypervisor;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// A full Debian, used through the web pages and ssh. Its image is built if it is missing; without KVM the boot takes a
/// minute or more.
/// </summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class DebianTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact, Trait(TestLimitAttribute.Minutes, "45")]
    public async Task Debian_boots_with_sudo_its_host_name_and_its_whole_disk()
    {
        var clock = Stopwatch.StartNew();
        await RealHypervisor.ImageAsync(new ImageStore(RealHypervisor.ImageFolder), DebianImage.Id, Cancel);
        RealHypervisor.Say($"debian image after {clock.Elapsed.TotalSeconds:0.0} s");
        await using var world = await RealWorld.StartAsync(changes: ("CAPSUL_CREATE_DEADLINE_SECONDS", "1500"));
        await world.AwaitImageAsync(DebianImage.Id);
        clock.Restart();
        var id = await world.Person.CreateAsync("f1-s", DebianImage.Id, "bookworm", Cancel);
        var ssh = await world.Person.AwaitRunningAsync(
            id, step => RealHypervisor.Say($"{clock.Elapsed.TotalSeconds,6:0.0} s  {step}"), Cancel);
        ssh.User.ShouldBe("debian");
        (await world.Person.FingerprintsAsync(id, Cancel))
            .ShouldContain(await world.Person.SeenFingerprintAsync(ssh, Cancel));

        (await world.Person.LoginAsync(
            ssh, "hostname; id -un; sudo -n id -u; . /etc/os-release; echo $VERSION_CODENAME", Cancel))
            .ShouldBe("bookworm\ndebian\n0\nbookworm");
        RealHypervisor.Say($"{clock.Elapsed.TotalSeconds,6:0.0} s  logged in");
        // The file system grows while the guest continues to boot.
        await Until.TrueAsync("the root file system fills the disk of 25 GiB", RealWorld.RunLimit, async () =>
            long.Parse((await world.Person.LoginAsync(ssh, "df -k --output=size / | tail -1", Cancel)).Trim(),
                CultureInfo.InvariantCulture) > 23_000_000);
        (await world.Person.LoginAsync(ssh, "sudo -n systemctl --failed --no-legend --plain", Cancel)).ShouldBe("");
        await Until.TrueAsync("cloud-init is done", RealWorld.RunLimit, async () =>
            await world.Person.LoginAsync(
                ssh, "test -e /run/cloud-init/result.json && echo done; true", Cancel) == "done");
        (await world.Person.LoginAsync(
            ssh, "sudo -n journalctl --unit ssh | grep --count 'Server listening on 0.0.0.0'", Cancel))
            .ShouldBe("1", "SSH was restarted after the first login");

        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await world.ShouldBeGoneAsync(id, ssh.Port);
    }
}
