using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Postgres.Migrations;

public sealed class MigratorTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Migrator Make(Db db) => new(db, NullLogger.Instance);

    [Fact]
    public async Task Brings_an_empty_database_to_the_desired_version()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        (await Make(database.Db).MigrateAsync(Cancel)).ShouldBe(Migrator.DesiredVersion);
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel))
            .ShouldBe(Migrator.DesiredVersion);
        (await Make(database.Db).MigrateAsync(Cancel)).ShouldBe(0);
    }

    [Fact]
    public void Every_up_script_has_a_down_script()
    {
        var ups = MigrationScripts.Embedded.All.Where(s => s.Up).Select(s => s.Version).ToList();
        ups.ShouldBe(Enumerable.Range(1, Migrator.DesiredVersion));
        MigrationScripts.Embedded.All.Where(s => !s.Up).Select(s => s.Version).ShouldBe(ups);
    }

    [Fact]
    public async Task Each_script_goes_up_down_and_up_again()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var migrator = Make(database.Db);
        for (var version = 1; version <= Migrator.DesiredVersion; version++)
        {
            await migrator.MigrateAsync(version, allowDowngrade: false, Cancel);
            await migrator.MigrateAsync(version - 1, allowDowngrade: true, Cancel);
            await migrator.MigrateAsync(version, allowDowngrade: false, Cancel);
        }
        await migrator.MigrateAsync(0, allowDowngrade: true, Cancel);
        (await database.Db.ListAsync<string>(
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1", null, Cancel))
            .ShouldBe(["schema_scripts", "schema_statements", "schemaversion"],
                "only what the migrator itself needs is left");
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM schema_scripts", null, Cancel)).ShouldBe(0);
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task Does_not_change_a_newer_database()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("UPDATE schemaversion SET version = 999", null, Cancel);
        var error = await Should.ThrowAsync<ProblemException>(() => Make(database.Db).MigrateAsync(Cancel));
        error.Problem.Message.ShouldContain("version 999, newer than this program");
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel)).ShouldBe(999);
    }

    [Fact]
    public async Task Ten_concurrent_starts_all_succeed_and_each_script_runs_once()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var counts = await Task.WhenAll(Enumerable.Range(0, 10).Select(_ => Make(database.Db).MigrateAsync(Cancel)));
        counts.Sum().ShouldBe(Migrator.DesiredVersion);
    }

    [Fact]
    public async Task A_wrong_password_is_an_error_message()
    {
        await using var database = await TestDatabase.CreateAsync();
        await using var db = new Db(
            new NpgsqlConnectionStringBuilder(database.ConnectionString) { Password = "wrong" }.ConnectionString);
        var error = await Should.ThrowAsync<ProblemException>(() => Make(db).MigrateAsync(Cancel));
        error.Problem.Message.ShouldContain("rejected the user or password");
        error.Problem.ExitCode.ShouldBe(69);
    }

    [Fact]
    public async Task A_missing_server_is_an_error_message()
    {
        await using var db = new Db("Host=127.0.0.1;Port=1;Username=x;Database=x;Timeout=3");
        (await Should.ThrowAsync<ProblemException>(() => Make(db).MigrateAsync(Cancel))).Problem.Message.ShouldContain(
            "127.0.0.1:1, database x cannot be reached");
    }

    [Theory, InlineData(130_014, true), InlineData(140_000, false), InlineData(170_002, false)]
    public void A_server_that_is_too_old_is_refused(int version, bool refused) =>
        (Migrator.TooOld(version) is not null).ShouldBe(refused);

    [Fact]
    public void An_invalid_connection_string_is_an_error_message() =>
        Should.Throw<ProblemException>(() =>
            new Db("Host=x;Nonsense=1")).Problem.Message.ShouldStartWith("CAPSUL_DATABASE is not a connection string");
}
