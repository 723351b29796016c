using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Link;

/// <summary>One Hub is active, a host only reports on itself, and no Spoke goes backwards.</summary>
public sealed class SeatTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_host_cannot_report_on_another_hosts_vm()
    {
        await using var link = await LinkHub.StartAsync();
        using var owner = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"), memoryMb: 8192);
        using var other = await ManualSpoke.DialAsync(
            await link.JoinAsync("rack2"), memoryMb: 1024, network: "10.78.0");
        await owner.NextAsync(HubMessage.BodyOneofCase.Wanted);
        await other.NextAsync(HubMessage.BodyOneofCase.Wanted);
        var id = await CreateVmAsync(link);
        var wanted = (await owner.NextAsync(HubMessage.BodyOneofCase.Wanted)).Wanted;
        wanted.Vms.ShouldHaveSingleItem().Id.ShouldBe(id);

        var lie = new VmReport
        {
            Id = id,
            Power = Power.On,
            Phase = Phase.Ready,
            Epoch = wanted.Epoch,
            Generation = wanted.Generation,
            SshHost = "127.0.0.1",
            SshPort = 666,
        };
        await other.SayAsync(new SpokeMessage { Vm = lie });
        await other.SayAsync(new SpokeMessage { Inventory = new Inventory { Vms = { lie } } });
        await other.BeatAsync("all said");
        await Until.TrueAsync("all of it was processed", Limit,
            async () => await ColumnAsync(link, "SELECT problem FROM hosts WHERE id = 'rack2'") == "all said");
        (await ColumnAsync(link, "SELECT state || ' ' || observed || ' ' || coalesce(ssh_port, 0) FROM vms"))
            .ShouldBe("creating unknown 0");

        await owner.SayAsync(new SpokeMessage { Vm = new VmReport(lie) { SshPort = 22001 } });
        await Until.TrueAsync("its own host's report is accepted", Limit,
            async () => await ColumnAsync(link, "SELECT state || ' ' || ssh_port FROM vms") == "running 22001");
    }

    [Fact]
    public async Task A_standby_hub_refuses_a_spoke_and_takes_over_when_the_seat_is_free()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        await using var standby = await link.StartAnotherAsync();
        using (var line = await ManualSpoke.DialAsync(identity.At($"127.0.0.1:{standby.LinkPort}")))
        {
            (await line.RefusalAsync()).ShouldSatisfyAllConditions(
                s => s.StatusCode.ShouldBe(StatusCode.Unavailable),
                s => s.Detail.ShouldBe("This is a standby Hub; another one is active."));
        }
        await link.StopAsync();
        await Until.TrueAsync("the other is active", Limit, () => Task.FromResult(standby.Seat.Epoch == 2));
        using var taken = await ManualSpoke.DialAsync(identity.At($"127.0.0.1:{standby.LinkPort}"));
        (await taken.NextAsync(HubMessage.BodyOneofCase.Welcome)).Welcome.Epoch.ShouldBe(2);
    }

    [Fact]
    public async Task When_the_active_process_is_killed_the_other_takes_over_and_the_spoke_follows()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environments = Enumerable.Range(0, 2).Select(_ => new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("seat"),
            ["CAPSUL_DATABASE"] = database.ConnectionString,
            ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
            ["CAPSUL_ENVIRONMENT"] = "development",
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
            ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
        }).ToArray();
        await using var crossing = new Crossing(int.Parse(environments[0]["CAPSUL_LINK_PORT"]));
        foreach (var environment in environments) environment["CAPSUL_LINK_ADDRESS"] = $"127.0.0.1:{crossing.Port}";
        await using var first = CapsulProgram.Start(environments[0], "up", "--hub");
        await first.AwaitSaidAsync("active Hub (epoch 1)", Limit);
        await using var second = CapsulProgram.Start(environments[1], "up", "--hub");
        await second.AwaitSaidAsync("Capsul is running at", Limit);

        var spokes = new Dictionary<string, string>(environments[0], StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("seat-spoke"),
            ["CAPSUL_RELAY_PORTS"] = "31500-31599",
        };
        var token = await CapsulProgram.RunAsync(environments[1], Cancel, "host", "invite", "rack1");
        (await CapsulProgram.RunAsync(spokes, Cancel, "spoke", "join", token.Output.Trim())).ExitCode.ShouldBe(0);
        await MakeSimulatedImageAsync(Path.Combine(spokes["CAPSUL_DATA"], "images"));
        await using var spoke = CapsulProgram.Start(spokes, "up", "--spoke");
        await spoke.AwaitSaidAsync("(epoch 1)", Limit);
        await Until.TrueAsync("the operator could offer the image", Limit, async () =>
            (await CapsulProgram.RunAsync(environments[1], Cancel, "image", "offer", "tiny")).ExitCode == 0);
        second.Said.ShouldNotContain("active Hub");

        await first.KillAsync();
        crossing.LeadTo(int.Parse(environments[1]["CAPSUL_LINK_PORT"]));
        await second.AwaitSaidAsync("active Hub (epoch 2)", Limit);
        await spoke.AwaitSaidAsync("(epoch 2)", Limit);
        using var door = new Capsul.Demo.FrontDoor(new Uri($"http://127.0.0.1:{environments[1]["CAPSUL_PORT"]}/"));
        var person = new Capsul.Demo.Visitor(door, TestFolder.Make("seat-person"));
        await door.SignInAsync("ada@example.org", Cancel);
        await person.AddKeyAsync(Cancel);
        await person.TopUpAsync("5", Cancel);
        var id = await person.CreateAsync("f1-xs", "tiny", "after", Cancel);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        limit.CancelAfter(Until.Patient(Limit));
        (await person.AwaitRunningAsync(id, _ => { }, limit.Token)).Port.ShouldBeInRange(31500, 31599);
    }

    [Fact]
    public async Task A_spoke_never_goes_backwards_not_even_after_a_restart()
    {
        var data = TestFolder.Make("backwards");
        var first = new AppliedState(Directory.CreateDirectory(Path.Combine(data, "spoke")).FullName);
        first.Load();
        await first.AdvanceAsync(7, 41, Cancel);
        var again = new AppliedState(Path.Combine(data, "spoke"));
        again.Load();
        (again.Epoch, again.Generation).ShouldBe((7, 41));
        again.Allows(7, 41).ShouldBeTrue("a repeated message changes nothing");
        again.Allows(7, 40).ShouldBeFalse();
        again.Allows(6, 99).ShouldBeFalse();
        again.Allows(8, 1).ShouldBeTrue("a new Hub may have restored an older database");
    }

    [Fact]
    public async Task A_hub_with_an_older_epoch_is_ignored()
    {
        await using var link = await LinkHub.StartAsync();
        var data = TestFolder.Make("obey");
        var identity = await link.JoinAsync("rack1", data);
        await new AppliedState(Path.Combine(data, "spoke")).AdvanceAsync(50, 1, Cancel);
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = data,
            ["CAPSUL_HYPERVISOR"] = "simulated",
        });
        var images = await MakeSimulatedImageAsync(settings.Images);
        await using var hypervisor = new Simulated(settings, images, TimeProvider.System);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var spoke = new SpokeProgram(settings, identity, hypervisor, images,
            TimeProvider.System, NullLoggerFactory.Instance).RunAsync(stop.Token);
        await CreateVmAsync(link);
        await Until.TrueAsync("it has disconnected", Limit, async () => !await link.IsOnlineAsync("rack1"));
        await Until.TrueAsync("it has reconnected", Limit, () => link.IsOnlineAsync("rack1"));
        await Until.TrueAsync("it has disconnected again", Limit, async () => !await link.IsOnlineAsync("rack1"));
        (await hypervisor.ListAsync(Cancel)).ShouldBeEmpty();

        // Then a Hub with a newer epoch appears, as after the operator restored the database.
        await link.Db.ExecuteAsync("UPDATE seat SET epoch = 60", null, Cancel);
        await Until.TrueAsync(
            "the Spoke follows it", Limit, async () => (await hypervisor.ListAsync(Cancel)).Count == 1);
        await stop.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(() => spoke);
    }

    static async Task<ImageStore> MakeSimulatedImageAsync(string folder)
    {
        var images = new ImageStore(folder);
        Directory.CreateDirectory(folder);
        var files = images.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "only pretended", Cancel);
        await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, Cancel);
        return images;
    }

    static async Task<string> CreateVmAsync(LinkHub link)
    {
        await link.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES ('ada@example.org');
            INSERT INTO payments (email, dollars, method) VALUES ('ada@example.org', 100, 'cash');
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES ('ada@example.org', 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', now());
            """, null, Cancel);
        var key = await link.Db.FindAsync<long>("SELECT id FROM ssh_keys", null, Cancel);
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal));
        // A host that refuses is only online for moments, but may still be assigned a VM then.
        return await Until.SomeAsync("a host took the VM", Limit, async () =>
            (await CreateVm.RunAsync(link.Db, "ada@example.org",
                new CreateVm.Input("vm", "f1-xs", "tiny", [key]), settings, TimeProvider.System, Cancel)).Value);
    }

    static Task<string?> ColumnAsync(LinkHub link, string sql) => link.Db.FindAsync<string>(sql, null, Cancel);
}
