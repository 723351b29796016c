using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Capsul.Postgres.Checks;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Capsul.Tests.Postgres.Checks;

public sealed class DatabaseChecksTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Task<IReadOnlyList<Finding>> RunAsync(Db db, TimeProvider? time = null) =>
        new DatabaseChecks(db, time ?? TimeProvider.System, ListAlerts.FindingsAsync).RunAsync(Cancel);

    static string Line(IEnumerable<Finding> findings, string what) =>
        string.Join('\n', findings.Where(f => f.What == what).Select(f => $"{f.Verdict} {f.Says}"));

    [Fact]
    public async Task Each_line_shows_the_state_and_what_to_do()
    {
        await using var database = await TestDatabase.CreateAsync();
        var lines = await RunAsync(database.Db);
        Line(lines, "database").ShouldStartWith("Ok PostgreSQL 1");
        Line(lines, "schema").ShouldBe($"Ok version {Migrator.DesiredVersion}");
        Line(lines, "durability")
            .ShouldStartWith("Fail fsync or full_page_writes is off", customMessage: "the tests' cluster has it off");
        Line(lines, "commits").ShouldStartWith("Fail synchronous_commit is off");
        Line(lines, "time zone").ShouldBe("Ok UTC");
        Line(lines, "connections").ShouldContain(" of 200 in use");
        Line(lines, "backup")
            .ShouldStartWith(
            "Warn no backup taken yet: the Hub takes one on CAPSUL_BACKUP_SCHEDULE; capsul db backup");
        Line(lines, "bloat").ShouldStartWith("Ok");
        Line(lines, "transactions").ShouldStartWith("Ok");
    }

    [Fact]
    public async Task A_backup_is_shown_with_its_verification_and_age()
    {
        await using var database = await TestDatabase.CreateAsync();
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero));
        var settings = Settings.Load(
            new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = TestFolder.Make("checks") });
        await new TakeBackup(database.Db, settings, time, _ => { })
            .RunAsync(new(null, DumpFormat.Plain, null, "asked"), Cancel);
        Line(await RunAsync(database.Db, time), "backup")
            .ShouldMatch(
            @"^Ok .*capsul-backup-2026-03-01\.gz, [\d.]+ KiB, verified 2026-03-01T12:00:00Z \(\d+ tables, \d+ rows; ");
        time.Advance(TimeSpan.FromDays(5));
        Line(await RunAsync(database.Db, time), "backup")
            .ShouldContain("that is 5 days ago; capsul db backup takes a new one");
    }

    [Fact]
    public async Task An_open_alert_and_a_schema_of_another_version_are_failures()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.InTransactionAsync(async transaction =>
        {
            await RaiseAlert.InAsync(transaction,
                Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)),
                RaiseAlert.BackupFailed, "", "It failed.", TimeProvider.System, Cancel);
            return true;
        }, Cancel);
        await database.Db.ExecuteAsync("UPDATE schemaversion SET version = 999", null, Cancel);
        var lines = await RunAsync(database.Db);
        Line(lines, "alert").ShouldEndWith(": It failed.", Case.Sensitive);
        Line(lines, "schema").ShouldStartWith("Fail version 999, newer than this program");
        await database.Db.ExecuteAsync("UPDATE schemaversion SET version = 1", null, Cancel);
        Line(await RunAsync(database.Db), "schema").ShouldStartWith("Warn version 1; this program upgrades it to");
    }

    [Fact]
    public async Task Dead_rows_and_few_connections_are_reported()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "CREATE TABLE heap (n int) WITH (autovacuum_enabled = off); INSERT INTO heap SELECT generate_series(1, "
            + "30000); DELETE FROM heap WHERE n > 1000", null, Cancel);
        await Until.TrueAsync("the server has counted them", TimeSpan.FromSeconds(20), async () =>
            Line(await RunAsync(database.Db), "bloat")
            .StartsWith("Warn heap: 29000 dead rows beside 1000", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_unreachable_or_empty_database_is_one_clear_line()
    {
        await using var away = new Db("Host=127.0.0.1;Port=1;Username=x;Database=x;Timeout=3");
        (await RunAsync(away)).ShouldHaveSingleItem().Says.ShouldContain("127.0.0.1:1, database x cannot be reached");
        await using var database = await TestDatabase.CreateEmptyAsync();
        Line(await RunAsync(database.Db), "schema").ShouldStartWith("Warn the database is empty");
        await using var wrong = new Db(new NpgsqlConnectionStringBuilder(
            database.ConnectionString)
        { Password = "wrong", Pooling = false }.ConnectionString);
        (await RunAsync(wrong)).ShouldHaveSingleItem().Says.ShouldContain("rejected the user or password");
    }
}
