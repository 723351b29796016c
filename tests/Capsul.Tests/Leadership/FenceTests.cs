using System.Data;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Leadership;
using Capsul.Hub.Link;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Leadership;

/// <summary>After the seat was taken, the one before writes nothing, however it tries and whenever it wakes.</summary>
public sealed class FenceTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Nothing_that_background_work_does_has_an_effect_under_an_older_epoch()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE hosts SET last_seen = '2020-01-01'", null, Cancel);
        var old = rows.Epoch;
        await rows.TakeSeatAsync(Cancel);
        var before = await ContentAsync(rows.Db);

        var listener = new Listener(rows.Db, rows.Time, NullLogger<Listener>.Instance);
        var heartbeats = new Heartbeats(rows.Fence, rows.Time);
        var connection = new SpokeConnection(
            VmRows.Host, old, rows.Db, rows.Fence, heartbeats, listener, rows.Settings, rows.Time, NullLogger.Instance);
        heartbeats.Note(VmRows.Host, new HeartbeatRow(true, 1, "late", 0), 99, () => { });
        var report = new VmReport { Id = vm, Power = Power.On, Phase = Phase.Ready, Epoch = old, Generation = 1 };
        (string Name, Func<Task> Act)[] ways =
        [
            ("a step of an operation", () => rows.Runner.RunOneAsync(old, Cancel)),
            ("host health", () => new HostHealth(rows.Db, rows.Fence, rows.Time).LookAsync(old, Cancel)),
            ("heartbeats", () => heartbeats.SaveAsync(old, Cancel)),
            ("a hello", () => connection.GreetAsync(ManualSpoke.Hello(), Cancel)),
            ("a report", () => connection.TakeInAsync(new SpokeMessage { Vm = report }, Cancel)),
            ("an inventory", () => connection.TakeInAsync(
                new SpokeMessage { Inventory = new Inventory { Vms = { report } } }, Cancel)),
            ("changed facts", () => connection.TakeInAsync(
                new SpokeMessage { Hello = ManualSpoke.Hello() }, Cancel)),
            ("the alert of a copy", () => connection.AlertCopyAsync(Cancel)),
            ("a statement", () => rows.Fence.ExecuteAsync(old, HostSql.Offline, new { id = VmRows.Host }, Cancel)),
            ("the outbox", () => new MailSender(rows.Db, rows.Fence, null!, rows.Settings, listener, rows.Time,
                NullLogger<MailSender>.Instance).SendDueAsync(old, Cancel)),
        ];
        foreach (var (name, act) in ways)
            await Should.ThrowAsync<SeatLostException>(act, $"{name} must be refused");
        (await ContentAsync(rows.Db)).ShouldBe(before);
    }

    /// <summary>
    /// Many transactions hold the old epoch and commit at random moments while the seat is taken: what counts is that
    /// none commits after the epoch was raised.
    /// </summary>
    [Fact]
    public async Task No_transaction_of_an_older_epoch_commits_after_the_epoch_was_raised()
    {
        await using var database = await TestDatabase.CreateAsync();
        var db = database.Db;
        await db.ExecuteAsync("CREATE TABLE written (epoch bigint NOT NULL)", null, Cancel);
        var random = new Random(7);
        for (var round = 0; round < 20; round++)
        {
            var epoch = await db.AskAsync<long>("SELECT epoch FROM seat", null, Cancel);
            using var ended = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
            var workers = Enumerable.Range(0, 6).Select(_ => WriteUntilRefusedAsync(database.Fence, epoch)).ToList();
            await Until.TrueAsync("some have written", Limit, async () =>
                await CountAsync(db, epoch) > random.Next(1, 20));
            var seat = new Seat(db, Settings.Load(new Dictionary<string, string>()), TimeProvider.System,
                NullLogger<Seat>.Instance);
            var taking = seat.RunAsync(async (_, stop) => await Task.Delay(Timeout.Infinite, stop), ended.Token);
            await Until.TrueAsync("the seat was taken", Limit, () => Task.FromResult(seat.Held));
            var count = await CountAsync(db, epoch);
            await Task.WhenAll(workers);
            (await CountAsync(db, epoch)).ShouldBe(count, "nothing was written after the seat was taken");
            await ended.CancelAsync();
            await Should.ThrowAsync<OperationCanceledException>(taking);
        }
    }

    static async Task WriteUntilRefusedAsync(Fence fence, long epoch)
    {
        try
        {
            while (true)
                await fence.ExecuteAsync(epoch, "INSERT INTO written VALUES (@epoch)", new { epoch }, Cancel);
        }
        catch (Exception error) when (error is SeatLostException or NpgsqlException)
        {
            // As it should be; or ended by the other, because it held the fence for too long.
        }
    }

    static Task<long> CountAsync(Db db, long epoch) =>
        db.AskAsync<long>("SELECT count(*) FROM written WHERE epoch = @epoch", new { epoch }, Cancel);

    /// <summary>
    /// A frozen process may be in the middle of a transaction: it must not keep the seat from others.
    /// </summary>
    [Fact]
    public async Task An_open_transaction_of_a_frozen_hub_is_ended_when_the_seat_is_taken()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var frozen = await database.Db.OpenAloneAsync("frozen", Cancel);
        await using var transaction = await frozen.BeginTransactionAsync(IsolationLevel.ReadCommitted, Cancel);
        await transaction.HoldSeatAsync(0, Cancel);
        await transaction.ExecuteAsync("INSERT INTO accounts (email) VALUES ('late@example.org')", null, Cancel);

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var seat = new Seat(database.Db, Settings.Load(new Dictionary<string, string>()), TimeProvider.System,
            NullLogger<Seat>.Instance);
        var running = seat.RunAsync(async (_, token) => await Task.Delay(Timeout.Infinite, token), stop.Token);
        await Until.TrueAsync("the seat was taken", Limit, () => Task.FromResult(seat.Epoch == 1));
        await Should.ThrowAsync<NpgsqlException>(() => transaction.CommitAsync(Cancel));
        (await database.Db.AskAsync<long>("SELECT count(*) FROM accounts", null, Cancel)).ShouldBe(0);
        await stop.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(running);
    }

    [Fact]
    public async Task The_fence_refuses_an_isolation_level_under_which_it_would_not_hold()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var connection = await database.Db.OpenAsync(Cancel);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.RepeatableRead, Cancel);
        (await Should.ThrowAsync<PostgresException>(() => transaction.HoldSeatAsync(0, Cancel)))
            .MessageText.ShouldContain("read committed");
    }

    [Fact]
    public async Task Changes_are_announced_here_at_once_and_to_other_processes_after_the_commit()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var (here, there) = (NewListener(rows), NewListener(rows));
        var vm = await rows.NewVmAsync(Cancel);
        using var mine = here.Subscribe(Listener.Vms, vm);
        using var theirs = there.Subscribe(Listener.Accounts, VmRows.Email);
        using var other = there.Subscribe(Listener.Vms, "capsul-0000000000");
        Task[] running = [here.RunAsync(stop.Token), there.RunAsync(stop.Token)];
        // Whoever begins to listen wakes everybody once, because something may have been missed before.
        (await Task.WhenAll(mine.WaitAsync(Limit, Cancel), theirs.WaitAsync(Limit, Cancel),
            other.WaitAsync(Limit, Cancel))).ShouldAllBe(woken => woken);

        await new Fence(rows.Db, here).ExecuteAsync(
            rows.Epoch, "UPDATE vms SET state = 'running' WHERE id = @vm", new { vm }, Cancel);
        (await mine.WaitAsync(TimeSpan.Zero, Cancel)).ShouldBeTrue("it was announced before the call returned");
        (await theirs.WaitAsync(Limit, Cancel)).ShouldBeTrue();

        await new Fence(rows.Db, here).ExecuteAsync(
            rows.Epoch, "UPDATE vms SET observed_at = now() WHERE id = @vm", new { vm }, Cancel);
        (await mine.WaitAsync(TimeSpan.Zero, Cancel)).ShouldBeFalse("pages do not show that");
        await stop.CancelAsync();
        foreach (var listening in running) await Should.ThrowAsync<OperationCanceledException>(listening);
        (await other.WaitAsync(TimeSpan.Zero, CancellationToken.None)).ShouldBeFalse("nothing happened to that one");
    }

    static Listener NewListener(VmRows rows) => new(rows.Db, TimeProvider.System, NullLogger<Listener>.Instance);

    /// <summary>Everything that background work may write.</summary>
    static async Task<string> ContentAsync(Db db) => string.Join('\n', await db.ListAsync<string>("""
        SELECT v::text FROM vms v UNION ALL SELECT h::text FROM hosts h UNION ALL SELECT o::text FROM operations o
        UNION ALL SELECT s::text FROM usage_spans s UNION ALL SELECT a::text FROM addresses a
        UNION ALL SELECT l::text FROM alerts l UNION ALL SELECT m::text FROM mails m
        UNION ALL SELECT e::text FROM operation_events e ORDER BY 1
        """, null, Cancel));
}
