using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Postgres.Migrations;

/// <summary>Scripts without a transaction: killed with -9 at every statement, they resume or roll back.</summary>
public sealed class StepwiseTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>
    /// Each statement of version 2 waits for its own lock, which a test can hold without stopping earlier ones.
    /// </summary>
    static readonly (string Table, string Mode)[] Stops =
        [("first", "ACCESS SHARE"), ("things", "ROW EXCLUSIVE"), ("more", "ACCESS EXCLUSIVE"),
            ("more", "ROW EXCLUSIVE"), ("things", "ACCESS SHARE"), ("last", "SHARE UPDATE EXCLUSIVE")];

    static ScriptFolder Folder() => new ScriptFolder()
        .Add("01_up_tables.sql", """
            CREATE TABLE first (id integer); CREATE TABLE last (id integer); CREATE TABLE more (id integer);
            CREATE TABLE things (id integer, name text);
            INSERT INTO things SELECT n, 'name ' || n FROM generate_series(1, 100) AS n;
            """)
        .Add("01_down_tables.sql", "DROP TABLE first; DROP TABLE last; DROP TABLE more; DROP TABLE things;")
        .Add("02_up_indexes.sql", """
            -- capsul: no transaction
            ALTER TABLE first ADD COLUMN a integer;
            CREATE INDEX CONCURRENTLY things_name ON things (name);
            INSERT INTO more (id) VALUES (1);
            CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS more_once ON more (id);
            DROP INDEX CONCURRENTLY things_name;
            VACUUM last;
            """)
        .Add("02_down_indexes.sql", """
            -- capsul: no transaction
            DROP INDEX CONCURRENTLY more_once;
            DROP INDEX CONCURRENTLY IF EXISTS things_name;
            DELETE FROM more WHERE id = 1;
            ALTER TABLE first DROP COLUMN a;
            """);

    public static TheoryData<int, bool> EveryStatement() =>
        new(Enumerable.Range(1, Stops.Length).SelectMany(n => (IEnumerable<(int, bool)>)[(n, false), (n, true)]));

    [Theory, MemberData(nameof(EveryStatement))]
    public async Task After_a_kill_at_any_statement_it_resumes_or_rolls_back(int ordinal, bool back)
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder();
        await folder.Migrator(database.Db).MigrateAsync(1, allowDowngrade: false, Cancel);
        await KillAtAsync(database, folder, ordinal);
        if (back)
        {
            (await folder.Repair(database.Db).RollBackAsync(Cancel)).ShouldAllBe(l => l.Good);
            await AssertSchemaAsync(database.Db, folder, 1);
            (await folder.Repair(database.Db).LookAsync(Cancel)).ShouldBeNull();
        }
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        await AssertSchemaAsync(database.Db, folder, 2);
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM more", null, Cancel))
            .ShouldBe(1, "each statement took effect once");
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM things", null, Cancel)).ShouldBe(100);
        await folder.Migrator(database.Db).MigrateAsync(0, allowDowngrade: true, Cancel);
    }

    /// <summary>Kills a separate migrating process in the middle of a statement.</summary>
    static async Task KillAtAsync(TestDatabase database, ScriptFolder folder, int ordinal)
    {
        await using var holder = await database.Db.OpenAsync(Cancel);
        await using var held = await holder.BeginTransactionAsync(Cancel);
        await held.ExecuteAsync($"LOCK TABLE {Stops[ordinal - 1].Table} IN {Stops[ordinal - 1].Mode} MODE",
            null, Cancel);
        await using (var child = MigratorChild.Start(database, folder))
        {
            await Until.TrueAsync($"statement {ordinal} waits", Limit, async () => child.HasExited
                ? throw new InvalidOperationException(child.Said)
                : await database.Db.FindAsync<bool>("""
                    SELECT EXISTS (SELECT 1 FROM schema_statements WHERE ordinal = @ordinal AND outcome = 'running')
                        AND EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
                            AND application_name = 'capsul migrations' AND wait_event_type = 'Lock')
                    """, new { ordinal }, Cancel));
            await child.KillAsync();
        }
        await Until.TrueAsync("the server has noticed that its client is gone", Limit, () =>
            database.Db.FindAsync<bool>(
                "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND "
                + "application_name LIKE 'capsul migrations%')", null, Cancel));
        await held.RollbackAsync(Cancel);
    }

    static async Task AssertSchemaAsync(Db db, ScriptFolder folder, int version)
    {
        (await db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel)).ShouldBe(version);
        (await SchemaCheck.CompareAsync(db, folder.Scripts, version, Cancel)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_statement_that_fails_is_recorded_and_can_be_corrected()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = new ScriptFolder()
            .Add("01_up_x.sql",
            "-- capsul: no transaction\nCREATE TABLE a (id integer);\nINSERT INTO a VALUES (1), (1);\nCREATE UNIQUE "
            + "INDEX CONCURRENTLY a_once ON a (id);");
        var error = await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db).MigrateAsync(Cancel));
        error.Problem.Message.ShouldContain(
            "Statement 3 (line 4) of 01_up_x.sql failed: could not create unique index");
        var lines = (await folder.Repair(database.Db).LookAsync(Cancel))!.Lines;
        lines.Select(l => l.Outcome).ShouldBe(["done", "done", "failed"]);
        lines[2].Effect.ShouldBe(Effect.Half, "the server leaves an invalid index");
        await database.Db.ExecuteAsync("DELETE FROM a WHERE ctid = (SELECT min(ctid) FROM a)", null, Cancel);
        (await folder.Repair(database.Db).ResumeAsync(Cancel)).Version.ShouldBe(1);
        (await database.Db.FindAsync<bool>("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_once'::regclass",
            null, Cancel)).ShouldBeTrue();
    }

    [Fact]
    public async Task An_unknown_outcome_must_be_marked()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = new ScriptFolder()
            .Add("01_up_x.sql",
            "-- capsul: no transaction\nCREATE TABLE a (id integer);\nALTER TABLE a DETACH PARTITION a_1 "
            + "CONCURRENTLY;\nCREATE TABLE b (id integer);");
        await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db).MigrateAsync(Cancel));
        await database.Db.ExecuteAsync(
            "UPDATE schema_statements SET outcome = 'running', finished = NULL WHERE ordinal = 2", null, Cancel);
        (await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db)
            .MigrateAsync(Cancel))).Problem.Message.ShouldContain("capsul db repair --mark");
        (await folder.Repair(database.Db).MarkAsync(done: true, Cancel)).Ordinal.ShouldBe(2);
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        (await database.Db.FindAsync<bool>("SELECT to_regclass('b') IS NOT NULL", null, Cancel)).ShouldBeTrue();
    }

    [Fact]
    public async Task An_interrupted_downgrade_is_not_completed_by_a_start()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = new ScriptFolder().Add("01_up_x.sql", "CREATE TABLE a (id integer); CREATE TABLE b (id integer);")
            .Add("01_down_x.sql", "-- capsul: no transaction\nDROP TABLE a;\nDROP TABLE missing;\nDROP TABLE b;");
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db)
            .MigrateAsync(0, allowDowngrade: true, Cancel));
        (await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db)
            .MigrateAsync(Cancel))).Problem.Message.ShouldContain("downgrade from schema version 1 was interrupted");
        (await folder.Repair(database.Db).RollBackAsync(Cancel)).Select(l => l.Said)
            .ShouldBe(["undone", "was not there"]);
        (await folder.Migrator(database.Db).MigrateAsync(Cancel)).ShouldBe(0);
        (await database.Db.FindAsync<bool>("SELECT to_regclass('a') IS NOT NULL", null, Cancel)).ShouldBeTrue();
    }

    [Fact]
    public async Task Concurrent_starts_do_not_block_each_others_index_build()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder();
        var counts = await Task.WhenAll(Enumerable.Range(0, 6)
            .Select(_ => folder.Migrator(database.Db).MigrateAsync(Cancel)));
        counts.Sum().ShouldBe(2);
        await AssertSchemaAsync(database.Db, folder, 2);
    }

    [Fact]
    public async Task A_script_changed_after_part_of_it_ran_is_refused()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = new ScriptFolder()
            .Add("01_up_x.sql", "-- capsul: no transaction\nCREATE TABLE a (id integer);\nVACUUM missing;");
        await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db).MigrateAsync(Cancel));
        folder.Add("01_up_x.sql", "-- capsul: no transaction\nCREATE TABLE a (id bigint);\nVACUUM a;");
        (await Should.ThrowAsync<ProblemException>(() => folder.Migrator(database.Db)
            .MigrateAsync(Cancel))).Problem.Message.ShouldContain("statement 1, which has run, is no longer in it");
        folder.Add("01_up_x.sql", "-- capsul: no transaction\nCREATE TABLE a (id integer);\nVACUUM a;");
        (await folder.Migrator(database.Db).MigrateAsync(Cancel)).ShouldBe(1);
    }
}

/// <summary>
/// A process that migrates a test's folder, so that it can be killed. Not a test: tests start it by its name.
/// </summary>
public sealed class MigratorChild
{
    const string DatabaseVariable = "MIGRATOR_CHILD_DATABASE", FolderVariable = "MIGRATOR_CHILD_FOLDER";

    internal static CapsulProgram Start(TestDatabase database, ScriptFolder folder) =>
        CapsulProgram.StartFile(Environment.ProcessPath!,
        new Dictionary<string, string>
        {
            [DatabaseVariable] = new NpgsqlConnectionStringBuilder(
            database.ConnectionString).ConnectionString,
            [FolderVariable] = folder.Path
        },
        "-noLogo", "-noColor", "-explicit", "only", "-class", typeof(MigratorChild).FullName!);

    [Fact(Explicit = true)]
    public async Task Migrates_the_folder_of_its_environment()
    {
        await using var db = new Db(Environment.GetEnvironmentVariable(DatabaseVariable)!);
        var scripts = MigrationScripts.FromFolder(Environment.GetEnvironmentVariable(FolderVariable)!);
        await new Migrator(db, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance)
        {
            Rules =
            new MigrationRules { Scripts = scripts }
        }.MigrateAsync(TestContext.Current.CancellationToken);
    }
}
