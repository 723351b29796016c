using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Postgres.Backups;
using Capsul.Tests.Support;
using Dapper;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Reconcilers;

public sealed class ScheduledBackupsTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    readonly FakeTimeProvider time = new(new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero));
    readonly Settings settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = TestFolder.Make("scheduled"),
        ["CAPSUL_BACKUP_SCHEDULE"] = "30 3 * * *",
        ["CAPSUL_BACKUP_KEEP_DAYS"] = "2",
    });

    ScheduledBackups Schedule(TestDatabase database, Settings? other = null) => new(
        database.Db, database.Fence, other ?? settings, time, NullLogger<ScheduledBackups>.Instance);

    Task<bool> LookAsync(TestDatabase database, Settings? other = null) =>
        Schedule(database, other).LookAsync(ScheduledBackups.Schedule(settings)!, 0, Cancel);

    string[] Files =>
        [.. Directory.GetFiles(settings.BackupFolder).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal)];

    [Fact]
    public async Task Are_taken_when_due_made_up_for_once_and_retried_after_an_hour()
    {
        await using var database = await TestDatabase.CreateAsync();
        var reconciler = Schedule(database);
        var schedule = ScheduledBackups.Schedule(settings)!;
        (await reconciler.LookAsync(schedule, 0, Cancel)).ShouldBeFalse();
        time.Advance(TimeSpan.FromHours(16));
        (await reconciler.LookAsync(schedule, 0, Cancel)).ShouldBeTrue("it is 04:00 the next day");
        (await reconciler.LookAsync(schedule, 0, Cancel)).ShouldBeFalse();
        Files.ShouldBe(["capsul-backup-2026-03-02.gz"]);

        // The Hub was down for three nights; another process starts.
        time.Advance(TimeSpan.FromDays(3));
        (await LookAsync(database)).ShouldBeTrue();
        (await LookAsync(database)).ShouldBeFalse();

        time.Advance(TimeSpan.FromDays(1));
        var broken = settings.With(("CAPSUL_POSTGRES_BIN", "/nowhere"));
        (await LookAsync(database, broken)).ShouldBeTrue();
        (await LookAsync(database)).ShouldBeFalse("it has just failed");
        time.Advance(TimeSpan.FromMinutes(61));
        (await LookAsync(database)).ShouldBeTrue();
        Files.ShouldBe(["capsul-backup-2026-03-05.gz", "capsul-backup-2026-03-06.gz"],
            "two days are kept, two verified ones always");
    }

    [Fact]
    public async Task Two_verified_ones_are_kept_at_any_age_and_manual_ones_are_never_deleted()
    {
        await using var database = await TestDatabase.CreateAsync();
        var asked = await new TakeBackup(database.Db, settings, time, _ => { })
            .RunAsync(new(null, DumpFormat.Plain, null, "asked"), Cancel);
        var reconciler = Schedule(database);
        for (var month = 0; month < 3; month++)
        {
            time.Advance(TimeSpan.FromDays(30));
            (await reconciler.LookAsync(ScheduledBackups.Schedule(settings)!, 0, Cancel)).ShouldBeTrue();
        }
        Files.ShouldBe([Path.GetFileName(asked.File), "capsul-backup-2026-04-30.gz", "capsul-backup-2026-05-30.gz"]);
    }

    [Fact]
    public async Task Of_several_hubs_each_deletes_only_its_own_files()
    {
        await using var database = await TestDatabase.CreateAsync();
        var reconciler = Schedule(database);
        var schedule = ScheduledBackups.Schedule(settings)!;
        time.Advance(TimeSpan.FromDays(1));
        (await reconciler.LookAsync(schedule, 0, Cancel)).ShouldBeTrue();
        // Another Hub's row: the same path, which is another file here.
        var mine = Path.Combine(settings.BackupFolder, "capsul-backup-2026-03-02.gz");
        var asked = Path.Combine(settings.BackupFolder, "asked.gz");
        File.Copy(mine, asked);
        await database.Db.ExecuteAsync("""
            INSERT INTO backups (reason, started, finished, file, format, schema_version, bytes, proved)
            SELECT 'scheduled', started - interval '1 day', finished, @asked, format, schema_version, bytes, proved
            FROM backups
            """, new { asked }, Cancel);
        // And two that another Hub has taken since, which must not count here.
        await database.Db.ExecuteAsync("""
            INSERT INTO backups (reason, started, finished, file, format, schema_version, bytes, proved)
            SELECT 'scheduled', started + interval '1 hour', finished + interval '1 hour', '/elsewhere/' || n, format,
                schema_version, bytes, proved FROM backups, generate_series(1, 2) n WHERE file = @mine
            """, new { mine }, Cancel);
        time.Advance(TimeSpan.FromDays(7));
        (await reconciler.LookAsync(schedule, 0, Cancel)).ShouldBeTrue();
        Files.ShouldBe(["asked.gz", "capsul-backup-2026-03-02.gz", "capsul-backup-2026-03-09.gz"]);
        time.Advance(TimeSpan.FromDays(7));
        (await reconciler.LookAsync(schedule, 0, Cancel)).ShouldBeTrue();
        Files.ShouldBe(["asked.gz", "capsul-backup-2026-03-09.gz", "capsul-backup-2026-03-16.gz"]);
    }

    [Fact]
    public async Task The_next_hub_raises_an_alert_for_one_that_died_with_its_hub()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("INSERT INTO backups (reason, started, file, format, schema_version) "
            + "VALUES ('scheduled', @started, '/elsewhere/a.gz', 'plain', 4)",
            new { started = time.GetUtcNow().UtcDateTime - TimeSpan.FromMinutes(10) }, Cancel);
        (await LookAsync(database)).ShouldBeFalse("an hour later it is retried");
        (await database.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel)).ShouldHaveSingleItem().Message.ShouldBe(
            "The backup of 2026-03-01T11:50:00Z failed: The Hub that was taking it exited or lost leadership.");
    }

    [Fact]
    public async Task A_hub_that_loses_the_seat_during_one_writes_nothing_more()
    {
        await using var database = await TestDatabase.CreateAsync();
        var taking = new TakeBackup(database.Db, settings, time, text =>
        {
            if (text != "dumping") return;
            using var other = database.Db.Open();
            other.Execute("UPDATE seat SET epoch = 8");
        })
        { Watch = BackupAlert.Watch(settings, time, epoch: 0) };
        await Should.ThrowAsync<SeatLostException>(
            () => taking.RunAsync(new(null, DumpFormat.Plain, null, "scheduled"), Cancel));
        var row = (await database.Db.FindAsync<BackupRow>(BackupSql.LastScheduled, null, Cancel))!;
        (row.Finished, row.Problem).ShouldBe((null, ""));
    }

    [Fact]
    public async Task A_hub_that_has_lost_the_seat_takes_none()
    {
        await using var database = await TestDatabase.CreateAsync();
        var reconciler = Schedule(database);
        time.Advance(TimeSpan.FromDays(1));
        await database.Db.ExecuteAsync("UPDATE seat SET epoch = 8", null, Cancel);
        await Should.ThrowAsync<SeatLostException>(
            () => reconciler.LookAsync(ScheduledBackups.Schedule(settings)!, 7, Cancel));
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM backups", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public void There_is_one_every_night_unless_it_is_turned_off()
    {
        var given = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal));
        ScheduledBackups.Schedule(given).ShouldNotBeNull().GetNextOccurrence(time.GetUtcNow().UtcDateTime)
            .ShouldBe(new DateTime(2026, 3, 2, 3, 30, 0, DateTimeKind.Utc));
        ScheduledBackups.Schedule(given.With(("CAPSUL_BACKUP_SCHEDULE", "off"))).ShouldBeNull();
    }

    [Fact]
    public void An_invalid_schedule_is_an_error_message() =>
        Should.Throw<ProblemException>(() => ScheduledBackups.Schedule(
            settings.With(("CAPSUL_BACKUP_SCHEDULE", "every night")))).Problem.Message.ShouldContain(
                "not a five-field cron expression");
}
