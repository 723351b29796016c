using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Dapper;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Leadership;

/// <summary>Any number of Hub processes, one of them active.</summary>
public sealed class SeatTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Of_two_processes_one_is_active_and_the_other_takes_over_within_five_seconds_of_a_kill()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environments = new[] { Environment(database), Environment(database) };
        await using var first = CapsulProgram.Start(environments[0], "up", "--hub");
        await first.AwaitSaidAsync("active Hub (epoch 1)", Limit);
        await using var second = CapsulProgram.Start(environments[1], "up", "--hub");
        await second.AwaitSaidAsync("Capsul is running at", Limit);

        (await HealthAsync(environments[0])).GetProperty("status").GetString().ShouldBe("acting");
        (await HealthAsync(environments[1])).GetProperty("status").GetString().ShouldBe("standby");
        (await PageAsync(environments[0], "/")).ShouldNotContain("on standby");
        (await PageAsync(environments[1], "/")).ShouldContain("This is a standby Hub; another one is active.");
        var status = await CapsulProgram.RunAsync(environments[1], Cancel, "hub", "status");
        status.ExitCode.ShouldBe(0, status.Error);
        Lines(status.Output).ShouldBe([$"pid {first.Id} acting 1", $"pid {second.Id} standby"]);

        await first.KillAsync();
        await second.AwaitSaidAsync("active Hub (epoch 2)", Limit);
        (await PageAsync(environments[1], "/")).ShouldNotContain("on standby");
        Lines((await CapsulProgram.RunAsync(environments[1], Cancel, "hub", "status")).Output)
            .ShouldBe([$"pid {second.Id} acting 2"]);
        await second.KillAsync();
        var none = await CapsulProgram.RunAsync(environments[1], Cancel, "hub", "status");
        (none.ExitCode, none.Output).ShouldSatisfyAllConditions(
            n => n.ExitCode.ShouldBe(1), n =>
                n.Output.ShouldContain(
                $"No Hub is active. The last was {System.Environment.MachineName} pid {second.Id}, epoch 2"));
    }

    [Fact]
    public async Task Ten_processes_started_together_on_an_empty_database_all_start_and_one_is_active()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var programs = Enumerable.Range(0, 10).Select(_ => CapsulProgram.Start(Environment(database), "up", "--hub"))
            .ToList();
        try
        {
            foreach (var program in programs)
                await program.AwaitSaidAsync("Capsul is running at", TimeSpan.FromMinutes(2));
            await Until.TrueAsync("one acts", Limit, () =>
                Task.FromResult(programs.Exists(p =>
                p.Said.Contains("active Hub (epoch 1)", StringComparison.Ordinal))));
            programs.Count(p => p.Said.Contains("active Hub", StringComparison.Ordinal)).ShouldBe(1);
            programs.Sum(p => p.Said.Split("Applying schema migration").Length - 1)
                .ShouldBe(Migrator.DesiredVersion, "each script ran once");
        }
        finally
        {
            foreach (var program in programs) await program.DisposeAsync();
        }
    }

    [Fact]
    public async Task Losing_the_connection_loses_the_seat()
    {
        await using var database = await TestDatabase.CreateAsync();
        var seat = NewSeat(database);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var ended = new List<long>();
        var running = seat.RunAsync(async (epoch, cancel) =>
        {
            try
            {
                await Task.Delay(Timeout.Infinite, cancel);
            }
            finally
            {
                ended.Add(epoch);
            }
        }, stop.Token);
        await Until.TrueAsync("it acts", Limit, () => Task.FromResult(seat.Epoch == 1));
        await database.Db.FindAsync<bool>(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'capsul seat %' AND "
            + "datname = current_database()", null, Cancel);
        await Until.TrueAsync("its work was canceled, and it has reacquired the seat", Limit, () =>
            Task.FromResult(seat.Epoch == 2 && ended is [1]));
        await stop.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(() => running);
    }

    [Fact]
    public async Task A_hanging_server_loses_the_seat_and_does_not_delay_shutdown()
    {
        await using var database = await TestDatabase.CreateAsync();
        var seat = NewSeat(database);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var cancelled = new TaskCompletionSource();
        var running = seat.RunAsync(async (_, cancel) =>
        {
            await using var told = cancel.Register(cancelled.SetResult);
            await Task.Delay(Timeout.Infinite, cancel);
        }, stop.Token);
        await Until.TrueAsync("it acts", Limit, () => Task.FromResult(seat.Held));
        var pid = await database.Db.FindAsync<int>(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'capsul seat %' AND datname = "
            + "current_database()", null, Cancel);
        await CapsulProgram.SignalAsync("STOP", pid);
        try
        {
            await cancelled.Task.WaitAsync(Limit, Cancel);
            seat.Held.ShouldBeFalse();
            await stop.CancelAsync();
            await Should.ThrowAsync<OperationCanceledException>(() => running.WaitAsync(Limit, Cancel));
        }
        finally
        {
            await CapsulProgram.SignalAsync("CONT", pid);
        }
    }

    [Fact]
    public async Task A_frozen_hub_loses_the_seat_and_stands_by_when_it_wakes()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environments = new[] { Environment(database), Environment(database) };
        await using var first = CapsulProgram.Start(environments[0], "up", "--hub");
        await first.AwaitSaidAsync("active Hub (epoch 1)", Limit);
        await using var second = CapsulProgram.Start(environments[1], "up", "--hub");
        await second.AwaitSaidAsync("Capsul is running at", Limit);

        await first.SignalAsync("STOP");
        await second.AwaitSaidAsync("active Hub (epoch 2)", Limit);
        second.Said.ShouldContain($"pid {first.Id}) was silent for too long");
        (await HealthAsync(environments[1])).GetProperty("status").GetString().ShouldBe("acting");

        await first.SignalAsync("CONT");
        await first.AwaitSaidAsync("Leadership was lost", Limit);
        await Until.TrueAsync("it stands by", Limit, async () =>
            (await HealthAsync(environments[0])).GetProperty("status").GetString() == "standby");
        second.Said.ShouldNotContain("epoch 3");
    }

    /// <summary>Upgrading the schema or restoring a backup holds the seat for a long time without a word.</summary>
    [Fact]
    public async Task Who_holds_the_seat_without_a_lease_keeps_it()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var holder = await SeatLock.TakeAsync(database.Db, "capsul restore", Cancel);
        var rivals = new SeatRivals(new Microsoft.Extensions.Time.Testing.FakeTimeProvider());
        await using var other = await database.Db.OpenAloneAsync("other", Cancel);
        (await other.QueryAsync<SeatHolderRow>(SeatSql.Holder,
            new { key = SeatSql.LockKey, lease = SeatSql.LeaseKey })).ShouldBeEmpty();
        (await rivals.EndDeadAsync(other, Cancel)).ShouldBeNull();
    }

    [Fact]
    public async Task A_silent_holder_is_ended_only_after_it_was_seen_silent_again_and_again()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var holder = await database.Db.OpenAloneAsync(SeatSql.ConnectionName + "silent pid 1", Cancel);
        (await holder.ExecuteScalarAsync<bool>(SeatSql.TryLockWithLease,
            new { key = SeatSql.LockKey, lease = SeatSql.LeaseKey })).ShouldBeTrue();
        await using var other = await database.Db.OpenAloneAsync("other", Cancel);
        var time = new Microsoft.Extensions.Time.Testing.FakeTimeProvider();
        var rivals = new SeatRivals(time);
        async Task<string?> LookAfterAsync(double seconds)
        {
            time.Advance(TimeSpan.FromSeconds(seconds));
            return await rivals.EndDeadAsync(other, Cancel);
        }

        for (var look = 0; look < 6; look++) (await LookAfterAsync(1)).ShouldBeNull();
        (await LookAfterAsync(60)).ShouldBeNull("the server, or this process, was frozen in between");
        for (var look = 0; look < 5; look++) (await LookAfterAsync(1)).ShouldBeNull();
        await holder.ExecuteScalarAsync(SeatSql.Ping);
        for (var look = 0; look < 6; look++) (await LookAfterAsync(1)).ShouldBeNull("it has sent a statement");
        (await LookAfterAsync(1)).ShouldBe("silent pid 1");
        await Should.ThrowAsync<Npgsql.NpgsqlException>(() => holder.ExecuteScalarAsync(SeatSql.Ping));
    }

    [Fact]
    public async Task A_hub_that_is_stopped_releases_the_seat_immediately()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environments = new[] { Environment(database), Environment(database) };
        await using var first = CapsulProgram.Start(environments[0], "up", "--hub");
        await first.AwaitSaidAsync("active Hub (epoch 1)", Limit);
        await using var second = CapsulProgram.Start(environments[1], "up", "--hub");
        await second.AwaitSaidAsync("Capsul is running at", Limit);
        await first.SignalAsync("TERM");
        await second.AwaitSaidAsync("active Hub (epoch 2)", Limit);
        await first.EndAsync();
        first.Said.ShouldNotContain("rror");
    }

    [Fact]
    public async Task A_standby_older_than_the_schema_never_acquires_the_seat()
    {
        await using var link = await LinkHub.StartAsync();
        await using var standby = await link.StartAnotherAsync();
        await link.Db.ExecuteAsync("UPDATE schemaversion SET version = 999", null, Cancel);
        await Until.TrueAsync("it has noticed", Limit, () => Task.FromResult(standby.Seat.Unfit is not null));
        await link.StopAsync();
        var health = await HealthAsync(standby.Port);
        (health.GetProperty("status").GetString(), health.GetProperty("why").GetString())
            .ShouldBe(
            ("standby",
            $"the database is at schema version 999, and this program needs {Migrator.DesiredVersion}"));
        (await PageAsync(standby.Port, "/"))
            .ShouldContain("It cannot take over: the database is at schema version 999");
        await link.Db.ExecuteAsync("UPDATE schemaversion SET version = @version",
            new { version = Migrator.DesiredVersion }, Cancel);
        await Until.TrueAsync("it is active, now that it can be", Limit, () => Task.FromResult(standby.Seat.Held));
    }

    [Fact]
    public async Task A_hub_on_a_read_only_database_stands_by_and_says_why()
    {
        await using var link = await LinkHub.StartAsync();
        var name = await link.Db.FindAsync<string>("SELECT current_database()::text", null, Cancel);
        await link.Db.ExecuteAsync($"ALTER DATABASE {name} SET default_transaction_read_only = on", null, Cancel);
        await using var standby = await link.StartAnotherAsync();
        await Until.TrueAsync("it has noticed", Limit, () => Task.FromResult(standby.Seat.Unfit is not null));
        await link.StopAsync();
        (await HealthAsync(standby.Port)).GetProperty("why").GetString()
            .ShouldBe("the database is read-only: a standby server, or default_transaction_read_only");
        standby.Seat.Held.ShouldBeFalse();
    }

    [Fact]
    public async Task A_newer_hub_waits_as_standby_until_the_older_one_stops_and_only_then_changes_the_schema()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        await new Migrator(database.Db, NullLogger.Instance)
            .MigrateAsync(Migrator.DesiredVersion - 1, allowDowngrade: false, Cancel);
        var older = await database.Db.OpenAloneAsync(SeatSql.ConnectionName + "older pid 1", Cancel);
        (await older.ExecuteScalarAsync<bool>("SELECT pg_try_advisory_lock(@key)", new { key = SeatSql.LockKey }))
            .ShouldBeTrue();

        var environment = Environment(database);
        await using var newer = CapsulProgram.Start(environment, "up", "--hub");
        await newer.AwaitSaidAsync("older pid 1 is active on the current one", Limit);
        await Until.TrueAsync("it responds", Limit, () => Until.AnswersAsync(int.Parse(environment["CAPSUL_PORT"])));
        var health = await HealthAsync(environment);
        (health.GetProperty("status").GetString(), health.GetProperty("why").GetString())
            .ShouldBe(("standby", "waiting for leadership, to upgrade the schema"));
        (await PageAsync(environment, "/console")).ShouldStartWith("This Hub is on standby");
        var verb = await CapsulProgram.RunAsync(environment, Cancel, "payment", "record", "ada@example.org", "20");
        (verb.ExitCode, verb.Error).ShouldSatisfyAllConditions(v => v.ExitCode.ShouldBe(73), v =>
            v.Error.ShouldContain("a Hub is active on the current one (older pid 1)"));
        (await VersionAsync(database)).ShouldBe(Migrator.DesiredVersion - 1);

        await older.DisposeAsync();
        await newer.AwaitSaidAsync("active Hub (epoch 1)", Limit);
        (await VersionAsync(database)).ShouldBe(Migrator.DesiredVersion);
    }

    [Fact]
    public async Task Background_work_of_an_older_epoch_writes_nothing()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "INSERT INTO hosts (id, state, online, last_seen) VALUES ('rack1', 'joined', TRUE, '2020-01-01')",
            null, Cancel);
        await database.Db.ExecuteAsync("UPDATE seat SET epoch = 8", null, Cancel);
        var fence = database.Fence;
        await Should.ThrowAsync<SeatLostException>(() => new HostHealth(database.Db, fence, TimeProvider.System)
            .LookAsync(7, Cancel));
        await Should.ThrowAsync<SeatLostException>(() =>
            fence.ExecuteAsync(7, "UPDATE hosts SET online = FALSE", new { }, Cancel));
        (await database.Db.FindAsync<bool>("SELECT online FROM hosts", null, Cancel)).ShouldBeTrue();
        (await fence.ExecuteAsync(8, "UPDATE hosts SET online = FALSE", new { }, Cancel)).ShouldBe(1);
    }

    static Seat NewSeat(TestDatabase database) => new(
        database.Db, Settings.Load(new Dictionary<string, string>()), TimeProvider.System, NullLogger<Seat>.Instance);

    static Dictionary<string, string> Environment(TestDatabase database) => new(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = TestFolder.Make("seat"),
        ["CAPSUL_DATABASE"] = database.ConnectionString,
        ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
        ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
        ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
        ["CAPSUL_DUMP_BEFORE_UPGRADE"] = "off",
    };

    static async Task<JsonElement> HealthAsync(int port) =>
        JsonDocument.Parse(await PageAsync(port, "/healthz")).RootElement;

    static Task<JsonElement> HealthAsync(Dictionary<string, string> environment) =>
        HealthAsync(int.Parse(environment["CAPSUL_PORT"]));

    static Task<string> PageAsync(Dictionary<string, string> environment, string path) =>
        PageAsync(int.Parse(environment["CAPSUL_PORT"]), path);

    static async Task<string> PageAsync(int port, string path)
    {
        using var client = new HttpClient();
        using var answer = await client.GetAsync(new Uri($"http://127.0.0.1:{port}{path}"), Cancel);
        return await answer.Content.ReadAsStringAsync(Cancel);
    }

    static Task<int> VersionAsync(TestDatabase database) =>
        database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel);

    /// <summary>The rows of the table: process, status and epoch.</summary>
    static IEnumerable<string> Lines(string output) =>
        from line in output.Split('\n')
        where line.Contains(" pid ", StringComparison.Ordinal)
        select string.Join(' ', line.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .SkipWhile(w => w != "pid").SkipLast(1));
}
