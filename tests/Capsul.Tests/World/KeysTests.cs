using Capsul.Foundation;
using Capsul.Tests.Support;
using Person = Capsul.Demo.Visitor;

namespace Capsul.Tests.World;

/// <summary>A real guest whose owner has lost the key: by the pages, with ssh before and after.</summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class KeysTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Keys_that_wait_are_taken_at_a_restart_and_the_page_says_so()
    {
        await using var world = await RealWorld.StartAsync();
        var (id, ssh) = await world.MakeVmAsync();
        await world.Person.LoginAsync(ssh, "echo mine > note; sync", Cancel);
        var fingerprint = await world.Person.SeenFingerprintAsync(ssh, Cancel);
        var other = new Person(world.Door, TestFolder.Make("other"));
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "other", "-f", other.KeyFile)
            .RunAsync(Cancel);
        await world.Door.SubmitAsync("/keys", "/keys",
            [KeyValuePair.Create("Key", await File.ReadAllTextAsync(other.KeyFile + ".pub", Cancel)),
                KeyValuePair.Create("Name", "other")], Cancel);
        var key = await world.Db.FindAsync<long>("SELECT id FROM ssh_keys WHERE name = 'other'", null, Cancel);

        var form = await world.Door.OpenFormAsync($"/vms/{id}/keys", $"/vms/{id}/keys", Cancel);
        form.Element.QuerySelector("button[formaction]")!.GetAttribute("formaction")
            .ShouldBe($"/vms/{id}/keys?handler=Later");
        await world.Door.PostAsync(form with { Action = $"/vms/{id}/keys?handler=Later" },
            [KeyValuePair.Create("KeyIds", $"{key}")], Cancel);
        (await world.Door.PageAsync($"/vms/{id}", Cancel)).ShouldContain("New ones wait for the next start");
        (await world.Person.LoginAsync(ssh, "cat note", Cancel)).ShouldBe("mine", "nothing is restarted for that");

        await world.Door.SubmitAsync($"/vms/{id}", $"/vms/{id}?handler=restart", [], Cancel);
        await Until.TrueAsync("the guest has them", RealWorld.RunLimit, async () => await world.Db.FindAsync<bool>(
            "SELECT done IS NOT NULL FROM key_changes", null, Cancel));
        (await world.AwaitRunningAsync(id)).ShouldBe(ssh);
        (await other.LoginAsync(ssh, "cat note", Cancel)).ShouldBe("mine");
        (await world.Person.SshCommandFor(ssh, "true").TryRunAsync(Cancel)).ExitCode.ShouldNotBe(0);
        (await world.Person.SeenFingerprintAsync(ssh, Cancel)).ShouldBe(fingerprint);
        (await world.Door.PageAsync($"/vms/{id}", Cancel)).ShouldContain("Taken at a start on");
        var shown = await CapsulProgram.RunAsync(world.HubEnvironment, Cancel, "vm", "keys", id);
        shown.ExitCode.ShouldBe(0, shown.Error);
        shown.Output.ShouldStartWith("has: other\ntaken at a start: ");

        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await world.ShouldBeGoneAsync(id, ssh.Port);
    }
}
