using System.Collections.Concurrent;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Vms;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.World;

/// <summary>
/// The disk of a Spoke's data folder, and that of the Hub's database, are full and have room again: nothing that was
/// acknowledged is lost, nothing happens twice, and nobody has to start anything.
/// </summary>
public sealed class FullDisksTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(90);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_spoke_whose_data_folder_is_full_loses_nothing_and_goes_on_when_there_is_room()
    {
        await using var disk = await SmallDisk.MountAsync("spoke-full");
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1", disk.Folder);
        var settings = In(disk.Folder);
        var images = await ImagesAsync(settings);
        // The machines are not on that disk: only the Spoke's own files are.
        await using var machines = new Simulated(In(TestFolder.Make("machines")), images, TimeProvider.System);
        var key = await PayAsync(link);
        var first = new RunningSpoke(new SpokeProgram(
            settings, identity, machines, images, TimeProvider.System, NullLoggerFactory.Instance));
        await Until.TrueAsync("rack1 is online", Limit, () => link.IsOnlineAsync("rack1"));
        List<string> vms = [];
        for (var n = 0; n < 3; n++) vms.Add((await CreateAsync(link, key)).OrThrow());
        await SettledAsync(link, "running", vms.Count);

        await disk.FillAsync();
        var late = await CreateAsync(link, key);
        (await ChangeAsync(link, VmActions.Stop, vms[0])).OrThrow();
        await StateAsync(link, vms[0], "stopped");
        await RefusedAsync(link, late);

        // Started again on the full disk, with records that do not have the last wanted states.
        await first.StopAsync();
        var second = new RunningSpoke(new SpokeProgram(
            settings, identity, machines, images, TimeProvider.System, NullLoggerFactory.Instance));
        (await ChangeAsync(link, VmActions.Delete, vms[1])).OrThrow();
        await StateAsync(link, vms[1], "deleted");
        // Its record made room.
        await disk.FillAsync();
        (await ChangeAsync(link, VmActions.Start, vms[0])).OrThrow();
        await Until.TrueAsync("it waits for room", Limit, () => link.Db.AskAsync<bool>(
            "SELECT problem = 'The host''s disk is full.' AND NOT problem_final FROM vms WHERE id = @id",
            new { id = vms[0] }, Cancel));
        await disk.FreeAsync();
        await SettledAsync(link, "running", 2);
        (await machines.ListAsync(Cancel)).Select(m => (m.Id, m.Power)).Order()
            .ShouldBe(new[] { vms[0], vms[2] }.Order().Select(id => (id, DomainPower.On)));
        machines.DisksMade.Values.ShouldAllBe(n => n == 1);
        (await link.Db.AskAsync<long>(
            "SELECT count(*) FROM (SELECT vm FROM usage_spans WHERE upper_inf(span) GROUP BY vm) AS s",
            null, Cancel)).ShouldBe(2);
        await second.StopAsync();
    }

    [Fact]
    public async Task A_hub_whose_database_has_no_room_loses_no_acknowledged_payment_and_recovers_by_itself()
    {
        await using var disk = await SmallDisk.MountAsync("hub-full");
        await using var hub = await HubProgram.StartAsync(
            In(disk.Folder, ("CAPSUL_PORT", "0"), ("CAPSUL_LINK_PORT", "0")), TimeProvider.System,
            logs => logs.ClearProviders(), Cancel);
        await Until.TrueAsync("the Hub is active", Limit, () => Task.FromResult(hub.Seat.Held));
        ConcurrentBag<string> tried = [], kept = [];
        using var enough = new CancellationTokenSource();
        var payers = Enumerable.Range(0, 4).Select(p => PayOnAsync(hub, p, tried, kept, enough.Token)).ToList();
        await Until.TrueAsync("payments are recorded", Limit, () => Task.FromResult(kept.Count > 40));
        var started = await StartedAsync(hub);

        await disk.FillAsync(leaveKb: 512);
        var postmaster = Postmaster(disk.Folder);
        // A server that fails comes back without its last log file, which makes room: until it cannot even start.
        await Until.TrueAsync("the server has given up", Limit, async () =>
        {
            await ExhaustAsync(hub);
            await disk.FillAsync();
            return Postmaster(disk.Folder) != postmaster && !await AnswersAsync(hub);
        });
        await Until.TrueAsync("the Hub is no longer active", Limit, () => Task.FromResult(!hub.Seat.Held));
        await disk.FreeAsync();
        await Until.TrueAsync("the Hub is active again", Limit, () => Task.FromResult(hub.Seat.Held));
        (await StartedAsync(hub)).ShouldBeGreaterThan(started);
        var then = kept.Count;
        await Until.TrueAsync("payments are recorded again", Limit, () => Task.FromResult(kept.Count > then + 20));
        await enough.CancelAsync();
        await Task.WhenAll(payers);

        var there = await hub.Db.ListAsync<(string Note, long Count)>(
            "SELECT note, count(*) FROM payments GROUP BY note", null, Cancel);
        there.ShouldAllBe(p => p.Count == 1, "nothing is doubled");
        var notes = there.Select(p => p.Note).ToHashSet(StringComparer.Ordinal);
        kept.Where(n => !notes.Contains(n)).ShouldBeEmpty("nothing that was acknowledged is lost");
        notes.Except(tried).ShouldBeEmpty();
        TestContext.Current.SendDiagnosticMessage("{0} payments tried, {1} acknowledged, {2} in the database",
            tried.Count, kept.Count, there.Count);
    }

    /// <summary>Records payments one after another; what fails is not tried again.</summary>
    static async Task PayOnAsync(HubProgram hub, int payer, ConcurrentBag<string> tried, ConcurrentBag<string> kept,
        CancellationToken enough)
    {
        for (var n = 0; !enough.IsCancellationRequested; n++)
        {
            var note = $"{payer}-{n}";
            tried.Add(note);
            try
            {
                (await RecordCash.RunAsync(hub.Db, "test", $"payer{payer}@example.org", 1, note, TimeProvider.System,
                    Cancel)).OrThrow();
                kept.Add(note);
            }
            catch (Exception error) when (error is NpgsqlException or TimeoutException or ProblemException)
            {
                // The database is away: this is the load, not a wait for anything.
                await Task.Delay(20, Cancel);
            }
        }
    }

    /// <summary>Writes to the log of transactions until there is no room for it.</summary>
    static Task ExhaustAsync(HubProgram hub) => Until.TrueAsync("the log of transactions is full", Limit, async () =>
    {
        try
        {
            await hub.Db.AskAsync<int>(
                "SELECT 1 FROM (SELECT pg_logical_emit_message(FALSE, 'test', repeat('x', 1000000))) AS m",
                null, Cancel);
            return false;
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            return true;
        }
    });

    static string? Postmaster(string folder) => File.Exists(PidFile(folder))
        ? File.ReadLines(PidFile(folder)).FirstOrDefault() : null;

    static string PidFile(string folder) => Path.Combine(folder, "postgres", "data", "postmaster.pid");

    static async Task<bool> AnswersAsync(HubProgram hub)
    {
        try
        {
            return await hub.Db.AskAsync<int>("SELECT 1", null, Cancel) == 1;
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            return false;
        }
    }

    static Task<DateTime> StartedAsync(HubProgram hub) =>
        hub.Db.AskAsync<DateTime>("SELECT pg_postmaster_start_time()", null, Cancel);

    static Settings In(string folder, params (string Name, string? Value)[] more) =>
        Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_HUB_USER"] = CapsulProgram.HubUser,
            ["CAPSUL_RELAY_PORTS"] = "31700-31799",
            // Not on the disk that is to be full.
            ["CAPSUL_IMAGES"] = TestFolder.Make("images"),
        }).With(more);

    static async Task<ImageStore> ImagesAsync(Settings settings)
    {
        var images = new ImageStore(settings.Images);
        var files = images.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "only pretended", Cancel);
        await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, Cancel);
        return images;
    }

    static async Task<long> PayAsync(LinkHub link)
    {
        await link.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES (@email);
            INSERT INTO payments (email, dollars, method) VALUES (@email, 1000, 'cash');
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES (@email, 'my laptop', 'ssh-ed25519', @key, 'SHA256:x', now());
            """, new { email = VmRows.Email, key = Simulated.HostKey(new byte[Simulated.HostKeyBytes]) }, Cancel);
        return await link.Db.AskAsync<long>("SELECT id FROM ssh_keys", null, Cancel);
    }

    static Task<Outcome<string>> CreateAsync(LinkHub link, long key) => CreateVm.RunAsync(link.Db, VmRows.Email,
        new CreateVm.Input(null, "f1-xs", "tiny", [key]), In(TestFolder.Make("none")), TimeProvider.System, Cancel);

    static Task<Outcome<string>> ChangeAsync(LinkHub link, VmAction action, string vm) => ChangeVm.RunAsync(
        action, link.Db, VmRows.Email, vm, In(TestFolder.Make("none")), TimeProvider.System, Cancel);

    static Task StateAsync(LinkHub link, string vm, string state) => Until.TrueAsync($"{vm} is {state}", Limit, () =>
        link.Db.AskAsync<bool>("SELECT state = @state FROM vms WHERE id = @vm", new { vm, state }, Cancel));

    /// <summary>At once, if the Spoke had said that its disk is full; otherwise rolled back without a charge.</summary>
    static async Task RefusedAsync(LinkHub link, Outcome<string> create)
    {
        if (create.Problem is { } problem)
        {
            problem.Message.ShouldContain("the disks are full");
            return;
        }
        var vm = create.OrThrow();
        await StateAsync(link, vm, "failed");
        (await link.Db.AskAsync<string>("SELECT problem FROM vms WHERE id = @vm", new { vm }, Cancel))
            .ShouldBe("The host's disk is full.");
        (await link.Db.AskAsync<long>("SELECT count(*) FROM usage_spans WHERE vm = @vm", new { vm }, Cancel))
            .ShouldBe(0);
    }

    /// <summary>So many VMs exist, all in this state and observed so.</summary>
    static Task SettledAsync(LinkHub link, string state, int count) => Until.TrueAsync(
        $"{count} VMs are {state}", Limit, () => link.Db.AskAsync<bool>("""
            SELECT count(*) = @count AND coalesce(bool_and(state = @state AND observed = 'on' AND problem = ''), FALSE)
                AND NOT EXISTS (SELECT FROM operations WHERE finished IS NULL)
            FROM vms WHERE deleted IS NULL
            """, new { state, count }, Cancel));

    /// <summary>A Spoke that runs until it is stopped.</summary>
    sealed class RunningSpoke
    {
        readonly CancellationTokenSource stop = new();
        readonly Task running;

        public RunningSpoke(SpokeProgram program) => running = Task.Run(() => program.RunAsync(stop.Token));

        public async Task StopAsync()
        {
            await stop.CancelAsync();
            await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            running.IsFaulted.ShouldBeFalse();
            stop.Dispose();
        }
    }
}
