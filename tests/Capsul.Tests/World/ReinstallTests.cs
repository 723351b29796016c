using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>A real guest that is reinstalled, as its owner does it: by the page, with ssh before and after.</summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class ReinstallTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_was_written_is_gone_and_ssh_works_at_the_same_address_with_new_host_keys()
    {
        await using var world = await RealWorld.StartAsync();
        var (id, ssh) = await world.MakeVmAsync();
        await world.Person.LoginAsync(ssh, "echo old > note", Cancel);
        var address = await world.Db.FindAsync<string>(
            "SELECT host(address) FROM addresses WHERE vm = @id", new { id }, Cancel);
        var fingerprint = await world.Person.SeenFingerprintAsync(ssh, Cancel);

        // Another name than its own is refused, and the data is there.
        await Should.ThrowAsync<ProblemException>(() => ReinstallAsync("other"));
        (await world.Person.LoginAsync(ssh, "cat note", Cancel)).Trim().ShouldBe("old");
        await ReinstallAsync("tiny");
        await Until.TrueAsync("the reinstall has ended", RealWorld.RunLimit, async () => await world.Db.FindAsync<bool>(
            "SELECT EXISTS (SELECT FROM operations WHERE kind = 'reinstall_vm' AND finished IS NOT NULL)",
            null, Cancel));
        var (status, problem) = await world.Db.FindAsync<(string, string)>(
            "SELECT status, problem FROM operations WHERE kind = 'reinstall_vm'", null, Cancel);
        status.ShouldBe("done", $"{problem}\n{world.Hub!.Said}\n{world.Spoke!.Said}");

        var there = await world.AwaitRunningAsync(id);
        there.ShouldBe(ssh);
        (await world.Person.LoginAsync(there, "cat note || echo gone", Cancel)).Trim().ShouldEndWith("gone");
        var seen = await world.Person.SeenFingerprintAsync(there, Cancel);
        seen.ShouldNotBe(fingerprint);
        (await world.Person.FingerprintsAsync(id, Cancel)).ShouldBe([seen]);
        (await world.Door.PageAsync($"/vms/{id}", Cancel)).ShouldContain("its SSH host keys are new");
        (await world.Db.FindAsync<string>("SELECT host(address) FROM addresses WHERE vm = @id", new { id }, Cancel))
            .ShouldBe(address);
        (await world.IsChargedAsync(id)).ShouldBeTrue();
        await Until.TrueAsync("the old disk is gone", RealWorld.EndLimit, async () =>
            (await world.VirshAsync("vol-list", "capsul")).Split('\n')
                .Count(l => l.Contains(id, StringComparison.Ordinal)) == 1);

        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await world.ShouldBeGoneAsync(id, ssh.Port);

        async Task ReinstallAsync(string name)
        {
            var key = await world.Db.FindAsync<long>("SELECT id FROM ssh_keys", null, Cancel);
            await world.Door.SubmitAsync($"/vms/{id}/reinstall", $"/vms/{id}/reinstall",
                [KeyValuePair.Create("Image", "tiny"), KeyValuePair.Create("KeyIds", $"{key}"),
                    KeyValuePair.Create("Name", name)], Cancel);
        }
    }
}
