using System.Text.Json;
using Capsul.Spoke.Images;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>
/// Hub and Spoke as two processes with real guests, killed in the middle of their work, as by a power failure.
/// </summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class TwoProcessesTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_vm_keeps_running_while_both_are_restarted()
    {
        await using var world = await RealWorld.StartAsync(ownDatabase: true);
        (await HealthAsync(world)).ShouldBe(("acting", 1));
        var (id, ssh) = await world.MakeVmAsync();
        var qemu = RealWorld.Qemus(id).ShouldHaveSingleItem();
        await world.Person.LoginAsync(ssh, "echo kept > note", Cancel);

        // Somebody is logged in, and must not notice.
        var ticks = 0;
        using var leave = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var working = (world.Person.SshCommandFor(ssh, "while true; do echo tick; sleep 0.2; done") with
        { OnLine = _ => Interlocked.Increment(ref ticks), Timeout = TimeSpan.FromMinutes(5) }).TryRunAsync(leave.Token);
        await Until.TrueAsync(
            "a session is open", RealWorld.EndLimit, () => Task.FromResult(Volatile.Read(ref ticks) > 0));

        await world.Spoke!.SignalAsync("TERM");
        (await world.Spoke.EndAsync()).ShouldBe(0, world.Spoke.Said);
        RealWorld.Qemus(id).ShouldBe([qemu]);
        world.StartSpoke();
        await world.AwaitColumnAsync(id, "phase", "6", RealWorld.StartLimit);
        var before = Volatile.Read(ref ticks);
        await Until.TrueAsync(
            "the session continues", RealWorld.EndLimit, () => Task.FromResult(Volatile.Read(ref ticks) > before + 5));
        working.IsCompleted.ShouldBeFalse();
        await leave.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(working);
        await ShouldLetInAsync(world, ssh);

        await world.Hub!.SignalAsync("TERM");
        (await world.Hub.EndAsync()).ShouldBe(0, world.Hub.Said);
        world.Hub.Said.ShouldNotContain("Exception");
        await ShouldLetInAsync(world, ssh); // SSH does not go through the Hub.
        await world.StartHubAsync();
        await Until.TrueAsync(
            "it acts again", RealWorld.StartLimit, async () => await HealthAsync(world) == ("acting", 2));
        RealWorld.Qemus(id).ShouldBe([qemu]);
        await DeleteAsync(world, id, ssh.Port);
    }

    [Theory]
    [InlineData("the Spoke, while the disk is created", true, false, false)]
    [InlineData("the Spoke, while it boots", true, false, true)]
    [InlineData("the Hub, while it boots", false, true, true)]
    [InlineData("both, while it boots", true, true, true)]
    public async Task A_create_survives_a_kill_half_way(string what, bool spoke, bool hub, bool booting)
    {
        await using var world = await RealWorld.StartAsync(ownDatabase: hub);
        var id = await world.Person.CreateAsync("f1-xs", TinyImage.Id, "tiny", Cancel);
        await Until.TrueAsync($"{id} is half created", RealWorld.StartLimit, async () => booting
            ? RealWorld.Qemus(id).Count == 1
            : Directory.EnumerateFiles(Path.Combine(world.SpokeSettings.Data, "spoke", "vms"), $"{id}*").Any()
                || await world.ColumnAsync(id, "state") != "creating");
        (await world.ColumnAsync(id, "state")).ShouldBe("creating", what);

        if (spoke) await world.Spoke!.KillAsync();
        if (hub) await world.Hub!.KillAsync();
        if (hub) await world.StartHubAsync();
        if (spoke) world.StartSpoke();

        var ssh = await world.AwaitRunningAsync(id);
        (await world.Person.LoginAsync(ssh, "hostname", Cancel)).ShouldBe("tiny");
        (await world.Person.FingerprintsAsync(id, Cancel))
            .ShouldContain(await world.Person.SeenFingerprintAsync(ssh, Cancel));
        RealWorld.Qemus(id).Count.ShouldBe(1);
        (await world.IsChargedAsync(id)).ShouldBeTrue();
        await DeleteAsync(world, id, ssh.Port);
    }

    [Fact]
    public async Task A_second_start_on_the_same_data_folder_is_refused()
    {
        await using var world = await RealWorld.StartAsync(changes: ("CAPSUL_HYPERVISOR", "simulated"));
        foreach (var (environment, role) in ((Dictionary<string, string>, string)[])[(world.HubEnvironment, "hub"),
            (world.SpokeEnvironment, "spoke")])
        {
            var second = await CapsulProgram.RunAsync(environment, Cancel, "up", $"--{role}");
            second.ExitCode.ShouldBe(73);
            second.Error.ShouldContain(
                $"capsul: Capsul ({role}) is already running on the data folder {environment["CAPSUL_DATA"]}.");
        }
        (await HealthAsync(world)).ShouldBe(("acting", 1));
    }

    static async Task ShouldLetInAsync(RealWorld world, Capsul.Demo.SshAddress ssh) =>
        (await Until.SomeAsync("ssh lets in", RealWorld.EndLimit, async () =>
            (await world.Person.SshCommandFor(ssh, "cat note").TryRunAsync(Cancel)) is { ExitCode: 0 } result
                ? result
                : null)).Output.Trim().ShouldBe("kept");

    static async Task DeleteAsync(RealWorld world, string id, int port)
    {
        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await world.ShouldBeGoneAsync(id, port);
    }

    static async Task<(string, long)> HealthAsync(RealWorld world)
    {
        using var json = JsonDocument.Parse(await world.Door.PageAsync("/healthz", Cancel));
        return (json.RootElement.GetProperty("status").GetString()!, json.RootElement.GetProperty("epoch").GetInt64());
    }
}
