using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.Vms;

/// <summary>Build slots of a host, and the queue for them.</summary>
public sealed class BuildQueueTests
{
    const string Bob = "bob@example.org";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>A host with room for many VMs, that builds one at a time, and a second account.</summary>
    static async Task<VmRows> CreateAsync(int slots = 1)
    {
        var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            UPDATE hosts SET memory_mb = 65536;
            INSERT INTO addresses (host, address, mac)
            SELECT 'rack1', '10.77.0.10'::inet + n, ('52:54:0a:4d:01:' || n + 10)::macaddr
            FROM generate_series(0, 29) AS n;
            INSERT INTO accounts (email) VALUES (@bob);
            INSERT INTO payments (email, dollars, method) VALUES (@bob, 100, 'cash');
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES (@bob, 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', @now);
            """, new { bob = Bob, now = rows.Now }, Cancel);
        (await SetBuildSlots.RunAsync(rows.Db, "test", VmRows.Host, $"{slots}", Cancel)).OrThrow();
        return rows;
    }

    static async Task<string> NewAsync(VmRows rows, string email = VmRows.Email)
    {
        rows.Time.Advance(TimeSpan.FromSeconds(1));
        return (await rows.TryNewVmAsync(Cancel, email: email)).OrThrow();
    }

    static async Task<int> ServeAsync(VmRows rows)
    {
        var listener = new Listener(rows.Db, rows.Time, NullLogger<Listener>.Instance);
        return await new BuildQueues(rows.Db, rows.Fence, listener, rows.Settings, rows.Time)
            .LookAsync(rows.Epoch, Cancel);
    }

    static Task<string[]> WaitingAsync(VmRows rows) => ListAsync(rows,
        "SELECT id FROM vms WHERE queued IS NOT NULL ORDER BY queued");

    static async Task<string[]> ListAsync(VmRows rows, string sql) =>
        [.. await rows.Db.ListAsync<string>(sql, null, Cancel)];

    static async Task<string[]> ToldAsync(VmRows rows) =>
        [.. (await rows.Db.ListAsync<WantedRow>(HostSql.Wanted, new { host = VmRows.Host, since = 0L }, Cancel))
            .Select(v => v.Id)];

    static Task<QueuePlaceRow?> PlaceAsync(VmRows rows, string id) =>
        rows.Db.FindAsync<QueuePlaceRow>(BuildQueueSql.Place, new { host = VmRows.Host, id }, Cancel);

    static async Task BuiltAsync(VmRows rows, string vm)
    {
        await rows.Db.ExecuteAsync(
            "UPDATE vms SET observed = 'on', phase = 6, observed_generation = wanted_generation WHERE id = @vm",
            new { vm }, Cancel);
        await rows.Db.ExecuteAsync(OperationSql.Wake, new { vms = new[] { vm }, now = rows.Now }, Cancel);
        await rows.SettleAsync(Cancel);
    }

    [Fact]
    public async Task Who_finds_no_slot_waits_and_the_spoke_is_not_told()
    {
        await using var rows = await CreateAsync();
        var first = await NewAsync(rows);
        var second = await NewAsync(rows);
        await rows.SettleAsync(Cancel);
        (await ToldAsync(rows)).ShouldBe([first]);
        (await PlaceAsync(rows, first)).ShouldBeNull();
        (await PlaceAsync(rows, second)).ShouldBe(new QueuePlaceRow(1, 1));
        VmState.Of(await rows.FindAsync(second, Cancel)).Word.ShouldBe("queued");
        (await ServeAsync(rows)).ShouldBe(0, "the only slot is taken");

        await BuiltAsync(rows, first);
        (await ServeAsync(rows)).ShouldBe(1);
        await rows.SettleAsync(Cancel);
        (await ToldAsync(rows)).ShouldContain(second);
        (await rows.NewestOperationAsync(second, Cancel)).Step.ShouldBe(CreateVmOperation.Start);
        await BuiltAsync(rows, second);
        (await rows.FindAsync(second, Cancel)).State.ShouldBe("running");
    }

    [Fact]
    public async Task The_time_limit_begins_with_the_slot()
    {
        await using var rows = await CreateAsync();
        var first = await NewAsync(rows);
        var second = await NewAsync(rows);
        rows.Time.Advance(CreateVmOperation.QueueLimit - TimeSpan.FromMinutes(1));
        await BuiltAsync(rows, first);
        await ServeAsync(rows);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(second, Cancel)).DeadlineAt.ShouldBe(rows.Now + rows.Settings.CreateDeadline);
    }

    [Fact]
    public async Task Nobody_waits_for_ever()
    {
        await using var rows = await CreateAsync();
        await NewAsync(rows);
        var second = await NewAsync(rows);
        await rows.SettleAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE operations SET deadline_at = @at WHERE vm <> @second",
            new { at = rows.Now.AddDays(1), second }, Cancel);
        rows.Time.Advance(CreateVmOperation.QueueLimit);
        await rows.SettleAsync(Cancel);
        var operation = await rows.NewestOperationAsync(second, Cancel);
        operation.Status.ShouldBe("failed");
        operation.Problem.ShouldContain("too busy");
        (await rows.FindAsync(second, Cancel)).ShouldSatisfyAllConditions(
            v => v.State.ShouldBe("failed"), v => v.Deleted.ShouldNotBeNull());
    }

    [Fact]
    public async Task Who_cancels_in_the_queue_leaves_at_once_although_the_host_is_silent()
    {
        await using var rows = await CreateAsync();
        await NewAsync(rows);
        var second = await NewAsync(rows);
        (await rows.CancelAsync(second, Cancel)).OrThrow();
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(second, Cancel)).Status.ShouldBe("cancelled");
        (await rows.FindAsync(second, Cancel)).ShouldSatisfyAllConditions(
            v => v.State.ShouldBe("failed"), v => v.Deleted.ShouldNotBeNull(),
            v => v.Address.ShouldNotBeNull("after a restore from a backup its host may have it nevertheless"));
        (await ToldAsync(rows)).ShouldContain(second);
        (await WaitingAsync(rows)).ShouldBeEmpty();
        (await rows.CountAsync("usage_spans", "TRUE", Cancel)).ShouldBe(0);
        await rows.ReportAsync(second, Power.Gone, Phase.None, Cancel);
        (await rows.FindAsync(second, Cancel)).Address.ShouldBeNull();
    }

    [Fact]
    public async Task Who_waits_is_looked_at_seldom()
    {
        await using var rows = await CreateAsync();
        await NewAsync(rows);
        var second = await NewAsync(rows);
        await rows.SettleAsync(Cancel);
        (await rows.CountAsync("operations", $"vm = '{second}' AND run_at >= created + interval '9 min'", Cancel))
            .ShouldBe(1, "thousands may wait, and who gets a slot is woken");
    }

    [Fact]
    public async Task What_was_going_on_in_a_backup_has_its_time_again_after_the_restore()
    {
        await using var rows = await CreateAsync();
        var first = await NewAsync(rows);
        var second = await NewAsync(rows);
        await rows.SettleAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromDays(1));
        await rows.Db.ExecuteAsync(BeginAgain.AfterRestore.Afterwards!, null, Cancel);
        rows.Time.SetUtcNow(new DateTimeOffset(await rows.Db.FindAsync<DateTime>("SELECT now()", null, Cancel)));
        await rows.TakeSeatAsync(Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(first, Cancel)).State.ShouldBe("creating", "its host may have it, and it may be in use");
        (await rows.FindAsync(second, Cancel)).State.ShouldBe("creating");
        await BuiltAsync(rows, first);
        (await rows.FindAsync(first, Cancel)).State.ShouldBe("running");
    }

    [Fact]
    public async Task Accounts_take_turns()
    {
        await using var rows = await CreateAsync();
        var ada = new List<string>();
        for (var n = 0; n < 4; n++) ada.Add(await NewAsync(rows));
        var bob = new List<string>();
        for (var n = 0; n < 2; n++) bob.Add(await NewAsync(rows, Bob));
        string[] order = [ada[1], bob[0], ada[2], bob[1], ada[3]];
        for (var n = 0; n < order.Length; n++)
            (await PlaceAsync(rows, order[n])).ShouldBe(new QueuePlaceRow(n + 1, order.Length));

        var building = ada[0];
        foreach (var next in order)
        {
            await BuiltAsync(rows, building);
            (await ServeAsync(rows)).ShouldBe(1);
            (await WaitingAsync(rows)).ShouldNotContain(next);
            building = next;
        }
    }

    [Fact]
    public async Task Nobody_overtakes_the_queue_when_a_slot_is_free()
    {
        await using var rows = await CreateAsync();
        var first = await NewAsync(rows);
        var second = await NewAsync(rows);
        await BuiltAsync(rows, first);
        var third = await NewAsync(rows, Bob);
        (await WaitingAsync(rows)).ShouldBe([second, third]);
        (await ServeAsync(rows)).ShouldBe(1);
        (await WaitingAsync(rows)).ShouldBe([third]);
    }

    [Fact]
    public async Task Two_that_serve_at_the_same_time_never_give_a_slot_twice()
    {
        await using var rows = await CreateAsync();
        for (var n = 0; n < 8; n++) await NewAsync(rows, n % 2 == 0 ? VmRows.Email : Bob);
        (await SetBuildSlots.RunAsync(rows.Db, "test", VmRows.Host, "3", Cancel)).OrThrow();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => ServeAsync(rows)));
        (await rows.CountAsync("vms", "state = 'creating' AND queued IS NULL", Cancel)).ShouldBe(3);
        (await WaitingAsync(rows)).Length.ShouldBe(5);
    }

    [Fact]
    public async Task Another_host_that_can_build_now_is_chosen_before_one_with_a_queue()
    {
        await using var rows = await CreateAsync();
        await rows.Db.ExecuteAsync("""
            INSERT INTO hosts (id, state, online, memory_mb, disk_free_mb, last_seen)
            VALUES ('rack2', 'joined', TRUE, 4096, 100000, @now);
            INSERT INTO host_images (host, image, sha256) VALUES ('rack2', 'tiny', @sha);
            INSERT INTO addresses (host, address, mac) VALUES ('rack2', '10.77.0.2', '52:54:0a:4d:00:02');
            """, new { now = rows.Now, sha = VmRows.ImageSha256 }, Cancel);
        await NewAsync(rows);
        var second = await NewAsync(rows);
        (await WaitingAsync(rows)).ShouldBeEmpty();
        (await rows.Db.FindAsync<int>("SELECT count(DISTINCT host)::integer FROM vms", null, Cancel)).ShouldBe(2);
        (await rows.FindAsync(second, Cancel)).Queued.ShouldBeNull();
    }

    [Fact]
    public async Task The_end_of_a_build_is_announced_to_the_queue_only_when_somebody_waits()
    {
        await using var rows = await CreateAsync();
        var first = await NewAsync(rows);
        (await AnnouncedAsync(rows, first)).ShouldBeEmpty();
        await NewAsync(rows);
        (await AnnouncedAsync(rows, first)).ShouldBe([VmRows.Host]);
    }

    /// <summary>What the triggers announce to the queue when a build ends; nothing is changed.</summary>
    static async Task<string[]> AnnouncedAsync(VmRows rows, string vm)
    {
        await using var connection = await rows.Db.OpenAsync(Cancel);
        await using var transaction = await connection.BeginTransactionAsync(Cancel);
        await transaction.FindAsync<string>("SELECT set_config('capsul.changes', E'\\n', TRUE)", null, Cancel);
        await transaction.ExecuteAsync("UPDATE vms SET state = 'running' WHERE id = @vm", new { vm }, Cancel);
        var changes = await transaction.FindAsync<string>("SELECT current_setting('capsul.changes')", null, Cancel);
        return [.. changes!.Split('\n').Where(c => c.StartsWith(Listener.Builds, StringComparison.Ordinal))
            .Select(c => c[(Listener.Builds.Length + 1)..])];
    }

    [Fact]
    public async Task Only_a_vm_that_is_being_created_can_wait()
    {
        await using var rows = await CreateAsync();
        var vm = await NewAsync(rows);
        await BuiltAsync(rows, vm);
        var error = await Should.ThrowAsync<PostgresException>(
            () => rows.Db.ExecuteAsync("UPDATE vms SET queued = now()", null, Cancel));
        error.ConstraintName.ShouldBe("vms_queued_is_creating");
    }

    [Theory]
    [InlineData("0"), InlineData("1001"), InlineData("-1"), InlineData("many"), InlineData("")]
    public async Task Slots_are_a_number_or_auto(string slots)
    {
        await using var rows = await CreateAsync();
        (await SetBuildSlots.RunAsync(rows.Db, "test", VmRows.Host, slots, Cancel)).Problem.ShouldNotBeNull()
            .Kind.ShouldBe(ProblemKind.Invalid);
        (await SetBuildSlots.RunAsync(rows.Db, "test", "nobody", "3", Cancel)).Problem!
            .Kind.ShouldBe(ProblemKind.NotFound);
        (await SetBuildSlots.RunAsync(rows.Db, "test", VmRows.Host, "auto", Cancel)).Problem.ShouldBeNull();
        (await rows.CountAsync("hosts", "build_slots IS NULL", Cancel)).ShouldBe(1);
    }
}
