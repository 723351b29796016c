using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// A real guest that lets nobody in any more, and is rescued as its owner does it: by the pages, with ssh before,
/// meanwhile and after.
/// </summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class RescueTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Who_is_locked_out_repairs_the_disk_and_is_let_in_again_with_the_old_host_key()
    {
        await using var world = await RealWorld.StartAsync();
        var (id, ssh) = await world.MakeVmAsync();
        await world.Person.LoginAsync(ssh, "echo precious > note; mv .ssh .locked; sync", Cancel);
        var fingerprint = await world.Person.SeenFingerprintAsync(ssh, Cancel);

        await world.Door.SubmitAsync($"/vms/{id}/rescue", $"/vms/{id}/rescue", [], Cancel);
        await EndedAsync("rescue_vm");
        var rescue = await world.AwaitRunningAsync(id);
        (rescue.Host, rescue.Port).ShouldBe((ssh.Host, ssh.Port));
        (await world.Door.PageAsync($"/vms/{id}", Cancel)).ShouldContain("Your capsul is in rescue.");
        var seen = await world.Person.SeenFingerprintAsync(rescue, Cancel);
        seen.ShouldNotBe(fingerprint);
        (await world.Person.FingerprintsAsync(id, Cancel)).ShouldBe([seen]);
        (await world.IsChargedAsync(id)).ShouldBeTrue();
        const string repair = "su -c 'mkdir -p /mnt && (mount /dev/vdc1 /mnt || mount /dev/vdc /mnt) 2>/dev/null "
            + "&& cat /mnt/home/capsul/note && mv /mnt/home/capsul/.locked /mnt/home/capsul/.ssh'";
        (await world.Person.LoginAsync(rescue, repair, Cancel)).ShouldBe("precious");

        await world.Door.SubmitAsync($"/vms/{id}", $"/vms/{id}?handler=EndRescue", [], Cancel);
        await EndedAsync("end_rescue");
        var there = await world.AwaitRunningAsync(id);
        there.ShouldBe(ssh);
        (await world.Person.LoginAsync(there, "cat note", Cancel)).ShouldBe("precious");
        (await world.Person.SeenFingerprintAsync(there, Cancel)).ShouldBe(fingerprint);
        (await world.Person.FingerprintsAsync(id, Cancel)).ShouldBe([fingerprint]);
        await Until.TrueAsync("the rescue system is gone", RealWorld.EndLimit, async () =>
            (await world.VirshAsync("vol-list", "capsul")).Split('\n')
                .Count(l => l.Contains(id, StringComparison.Ordinal)) == 1);
        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await world.ShouldBeGoneAsync(id, ssh.Port);

        async Task EndedAsync(string kind)
        {
            await Until.TrueAsync($"{kind} has ended", RealWorld.RunLimit, async () => await world.Db.FindAsync<bool>(
                "SELECT EXISTS (SELECT FROM operations WHERE kind = @kind AND finished IS NOT NULL)",
                new { kind }, Cancel));
            var (status, problem) = await world.Db.FindAsync<(string, string)>(
                "SELECT status, problem FROM operations WHERE kind = @kind", new { kind }, Cancel);
            status.ShouldBe("done", $"{problem}\n{world.Hub!.Said}\n{world.Spoke!.Said}");
        }
    }
}
