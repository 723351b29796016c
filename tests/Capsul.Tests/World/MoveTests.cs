using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>A Hub and two hosts as processes, each host with its own libvirt in its own namespaces.</summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class MoveTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_vm_moves_to_another_host_with_what_was_written()
    {
        await using var world = await RealWorld.StartAsync();
        var (id, ssh) = await world.MakeVmAsync();
        await world.Person.LoginAsync(ssh, "echo kept > note", Cancel);
        var folder = await world.AddHostAsync("rack2");

        var moved = await CapsulProgram.RunAsync(
            world.HubEnvironment, Cancel, "vm", "move", id, "--to", "rack2", "--reason", "a test");
        moved.ExitCode.ShouldBe(0, moved.Error);
        await Until.TrueAsync("the move has ended", RealWorld.RunLimit, async () => await world.Db.FindAsync<bool>(
            "SELECT EXISTS (SELECT FROM operations WHERE kind = 'move_vm' AND finished IS NOT NULL)", null, Cancel));
        var (status, problem) = await world.Db.FindAsync<(string, string)>(
            "SELECT status, problem FROM operations WHERE kind = 'move_vm'", null, Cancel);
        status.ShouldBe("done", $"{problem}\n{world.Hub!.Said}\n{world.Spoke!.Said}\n{world.OthersSaid}");
        (await world.ColumnAsync(id, "host")).ShouldBe("rack2");

        var there = await world.AwaitRunningAsync(id);
        (await world.Person.LoginAsync(there, "cat note", Cancel)).Trim().ShouldBe("kept");
        (await world.Person.FingerprintsAsync(id, Cancel))
            .ShouldContain(await world.Person.SeenFingerprintAsync(there, Cancel));
        (await world.IsChargedAsync(id)).ShouldBeTrue();
        RealWorld.Qemus(id).Count.ShouldBe(1);

        await Until.TrueAsync("the source has removed its copy", RealWorld.EndLimit, async () =>
            await world.Db.FindAsync<bool>("SELECT copy_host IS NULL FROM moves", null, Cancel));
        (await world.VirshAsync("list", "--all", "--name")).ShouldNotContain(id);
        Files(world.SpokeSettings.Data, id).ShouldBeEmpty();
        (await world.Db.FindAsync<int>("SELECT count(*)::integer FROM addresses WHERE vm = @id", new { id }, Cancel))
            .ShouldBe(1);
        (await world.Db.ListAsync<int>("SELECT vms FROM hosts ORDER BY id", null, Cancel)).ShouldBe([0, 1]);

        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        Files(folder, id).ShouldBeEmpty();
    }

    static IEnumerable<string> Files(string data, string id) =>
        Directory.EnumerateFileSystemEntries(Path.Combine(data, "spoke"), $"*{id}*", SearchOption.AllDirectories);
}
