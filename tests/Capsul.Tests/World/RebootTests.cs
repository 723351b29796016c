using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// A host reboot on real libvirt: the sandbox and all guests end immediately, as in a power failure. VMs that are
/// wanted on are restarted; those shut down by their guest stay off.
/// </summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class RebootTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("the host of the VMs", false)]
    [InlineData("the one machine with everything", true)]
    public async Task After_a_reboot_vms_run_again_unless_their_guest_shut_down(string what, bool everything)
    {
        await using var world = await RealWorld.StartAsync(ownDatabase: everything);
        var (id, ssh) = await world.MakeVmAsync();
        await world.Person.LoginAsync(ssh, "echo kept > note; sync", Cancel);

        await RebootAsync(world, everything);
        var note = await Until.SomeAsync($"ssh lets in again after {what} rebooted", RealWorld.RunLimit, async () =>
            (await world.Person.SshCommandFor(ssh, "cat note").TryRunAsync(Cancel)) is { ExitCode: 0 } result
                ? result.Output.Trim()
                : null);
        note.ShouldBe("kept");
        RealWorld.Qemus(id).Count.ShouldBe(1);
        await world.AwaitColumnAsync(
            id, "state || ' ' || wanted || ' ' || observed || ' ' || phase", "running on on 6", RealWorld.RunLimit);
        (await world.IsChargedAsync(id)).ShouldBeTrue();

        await world.Person.SshCommandFor(ssh, "su -c 'sync; poweroff -f'").TryRunAsync(Cancel);
        await world.AwaitColumnAsync(id, "state || ' ' || wanted", "stopped off", RealWorld.EndLimit);
        (await world.Db.FindAsync<string>("SELECT message FROM operation_events ORDER BY id DESC LIMIT 1",
            null, Cancel)).ShouldBe("The guest shut itself down");

        await RebootAsync(world, everything);
        await Until.TrueAsync(
            "the Spoke has reported again", RealWorld.StartLimit, async () => await world.Db.FindAsync<bool>(
                "SELECT h.online AND v.observed = 'off' AND v.observed_at > h.last_seen - interval '1 minute' "
                    + "FROM hosts h JOIN vms v ON v.host = h.id", null, Cancel));
        RealWorld.Qemus(id).ShouldBeEmpty();
        (await world.ColumnAsync(id, "state || ' ' || wanted")).ShouldBe("stopped off");
    }

    static async Task RebootAsync(RealWorld world, bool everything)
    {
        await world.Spoke!.KillAsync();
        if (everything) await world.Hub!.KillAsync();
        await Sandbox.StopAsync(world.SpokeSettings, TimeProvider.System, Cancel);
        if (everything) await world.StartHubAsync();
        world.StartSpoke();
    }
}
