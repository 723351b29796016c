using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Postgres.Migrations;

/// <summary>What the migrator refuses, whom it waits for, and what it keeps.</summary>
public sealed class MigratorCareTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static ScriptFolder Folder() => new ScriptFolder()
        .Add("01_up_a.sql", "-- First.\nCREATE TABLE a (id integer);\n").Add("01_down_a.sql", "DROP TABLE a;")
        .Add("02_up_b.sql", "ALTER TABLE a ADD COLUMN b integer;").Add("02_down_b.sql", "ALTER TABLE a DROP COLUMN b;");

    static async Task<string> RefusalAsync(Func<Task> work) =>
        (await Should.ThrowAsync<ProblemException>(work)).Problem.Message;

    [Fact]
    public async Task An_edited_script_is_refused_and_an_edited_comment_is_not()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder();
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        folder.Add("01_up_a.sql", "/* Another word. */\r\nCREATE  TABLE a (\r\n  id INTEGER);");
        (await folder.Migrator(database.Db).MigrateAsync(Cancel)).ShouldBe(0);
        folder.Add("01_up_a.sql", "CREATE TABLE a (id bigint);");
        (await RefusalAsync(() => folder.Migrator(database.Db).MigrateAsync(Cancel)))
            .ShouldContain("01_up_a.sql is no longer what was applied");
        (await SchemaStatus.ReadAsync(database.Db, folder.Scripts, Cancel)).Lines.Select(l => l.State)
            .ShouldBe(["edited", "applied"]);
        (await new Baseline(database.Db, NullLogger.Instance)
        {
            Rules =
            new MigrationRules { Scripts = folder.Scripts }
        }.TakeAsync(2, force: true, Cancel)).ShouldHaveSingleItem();
        (await folder.Migrator(database.Db).MigrateAsync(Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task Another_build_with_an_edited_script_is_refused_although_the_last_one_matched()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await database.Db.FindAsync<string>("SELECT compared_with FROM schema_scripts ORDER BY version DESC LIMIT 1",
            null, Cancel)).ShouldBe(MigrationScripts.Embedded.Identity);
        await database.Db.ExecuteAsync(
            "UPDATE schema_scripts SET compared_with = 'another build', raw_checksum = 'x', checksum = 'y' WHERE "
            + "version = 2", null, Cancel);
        await database.Db.ExecuteAsync("UPDATE schema_scripts SET compared_with = 'another build'", null, Cancel);
        (await RefusalAsync(() => new Migrator(database.Db, NullLogger.Instance).MigrateAsync(Cancel)))
            .ShouldContain("02_up_accounts.sql is no longer");
    }

    [Fact]
    public async Task An_edited_down_script_is_refused_when_it_would_run()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder();
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        folder.Add("02_down_b.sql", "DROP TABLE a;");
        (await RefusalAsync(() => folder.Migrator(database.Db).MigrateAsync(1, allowDowngrade: true, Cancel)))
            .ShouldContain("02_down_b.sql is no longer what it was");
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel)).ShouldBe(2);
    }

    [Fact]
    public async Task A_downgrade_must_be_allowed()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder();
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        (await RefusalAsync(() => folder.Migrator(database.Db).MigrateAsync(1, allowDowngrade: false, Cancel)))
            .ShouldContain("--allow-downgrade");
        (await RefusalAsync(() => folder.Migrator(database.Db).MigrateAsync(3, allowDowngrade: true, Cancel)))
            .ShouldContain("no schema version 3");
        (await folder.Migrator(database.Db).MigrateAsync(1, allowDowngrade: true, Cancel)).ShouldBe(1);
    }

    [Theory]
    [InlineData("CREATE TABLE c (id integer);\n\nALTER TABLE missing ADD COLUMN b text;",
        "failed at line 3 and was rolled back: relation \"missing\" does not exist.")]
    [InlineData("CREATE TABLE c (id integer);\nCOMMIT;\nCREATE TABLE d (id integer);", "has COMMIT at line 2")]
    public async Task A_script_that_fails_leaves_nothing(string sql, string says)
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder().Add("03_up_c.sql", sql);
        (await RefusalAsync(() => folder.Migrator(database.Db).MigrateAsync(Cancel))).ShouldContain(says);
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel))
            .ShouldBe(2, "complete scripts are kept");
        (await database.Db.FindAsync<bool>("SELECT to_regclass('c') IS NULL", null, Cancel)).ShouldBeTrue();
    }

    [Fact]
    public async Task A_function_with_semicolons_in_its_body_is_one_statement()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = new ScriptFolder()
            .Add("01_up_f.sql",
            "CREATE FUNCTION one() RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN TRUE THEN 2 "
            + "END; END;\nCREATE TABLE \"semi;colon\" (id integer);");
        (await folder.Migrator(database.Db).MigrateAsync(Cancel)).ShouldBe(1);
        (await database.Db.FindAsync<int>("SELECT one()", null, Cancel)).ShouldBe(2);
    }

    [Fact]
    public async Task The_holder_of_the_lock_is_named()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        await using var holder = await database.Db.OpenAloneAsync("somebody else", Cancel);
        await using (var command = new NpgsqlCommand("SELECT pg_advisory_lock(x'63617073756c'::bigint)",
            holder)) await command.ExecuteNonQueryAsync(Cancel);
        var migrator = new Migrator(database.Db,
            NullLogger.Instance)
        { Rules = new MigrationRules { OthersMayTake = TimeSpan.Zero } };
        (await RefusalAsync(() => migrator.MigrateAsync(Cancel)))
            .ShouldMatch(@"somebody else of user postgres.* \(pid \d+, since ");
        await holder.CloseAsync();
        (await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(Cancel))
            .ShouldBe(Migrator.DesiredVersion, "the lock was released with its holder");
    }

    [Fact]
    public async Task A_session_that_locks_a_table_is_named_and_waited_for()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder();
        await folder.Migrator(database.Db).MigrateAsync(1, allowDowngrade: false, Cancel);
        await using var holder = await database.Db.OpenAloneAsync("a long report", Cancel);
        await using var held = await holder.BeginTransactionAsync(Cancel);
        await held.ExecuteAsync("LOCK TABLE a IN ACCESS SHARE MODE", null, Cancel);
        var impatient = new Migrator(database.Db,
            NullLogger.Instance)
        {
            Rules = new MigrationRules
            {
                Scripts = folder.Scripts,
                LockPatience = TimeSpan.Zero
            }
        };
        (await RefusalAsync(() => impatient.MigrateAsync(Cancel)))
            .ShouldMatch("could not lock what it changes .*a long report of user postgres .*LOCK TABLE a");
        var said = new Lines();
        var patient = folder.Migrator(database.Db, said).MigrateAsync(Cancel);
        await Until.TrueAsync("it was rolled back once", TimeSpan.FromSeconds(30), () =>
            Task.FromResult(said.Has("was rolled back; in the way: a long report")));
        await held.RollbackAsync(Cancel);
        (await patient).ShouldBe(1);
    }

    [Fact]
    public async Task A_database_migrated_before_records_existed_is_accepted_as_it_is()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("DROP TABLE schema_scripts, schema_statements", null, Cancel);
        (await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(Cancel)).ShouldBe(0);
        (await SchemaStatus.ReadAsync(database.Db, MigrationScripts.Embedded, Cancel)).Lines.ShouldAllBe(l =>
            l.State == "applied" && l.Applied!.AppliedBy.StartsWith("found applied by capsul"));
    }

    [Fact]
    public async Task An_upgrade_begun_by_a_newer_program_is_left_to_it()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder();
        await folder.Migrator(database.Db).MigrateAsync(Cancel);
        await database.Db.ExecuteAsync(
            "INSERT INTO schema_statements (version, up, ordinal, statement, alone, outcome) VALUES (3, TRUE, 1, "
            + "'VACUUM', TRUE, 'running')", null, Cancel);
        (await RefusalAsync(() => folder.Migrator(database.Db).MigrateAsync(Cancel)))
            .ShouldContain("newer program was interrupted");
    }

    [Theory, InlineData("DELETE FROM schemaversion", "it has 0"),
        InlineData("INSERT INTO schemaversion VALUES (4)", "it has 2")]
    public async Task A_version_table_without_its_one_row_is_refused(string change, string says)
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(change, null, Cancel);
        (await RefusalAsync(() => new Migrator(database.Db, NullLogger.Instance).MigrateAsync(Cancel)))
            .ShouldContain(says);
    }

    [Fact]
    public async Task The_dry_run_shows_what_would_run_and_changes_nothing()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var folder = Folder()
            .Add("03_up_i.sql", "-- capsul: no transaction\nCREATE INDEX CONCURRENTLY a_id ON a (id);");
        var (sql, notTried) = await folder.Migrator(database.Db).DryRunAsync(3, allowDowngrade: false, Cancel);
        sql.ShouldContain(
            "BEGIN;\n-- First.\nCREATE TABLE a (id integer);\nUPDATE schemaversion SET version = 1;\nCOMMIT;");
        notTried!.Name.ShouldBe("03_up_i.sql");
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM pg_tables WHERE schemaname = 'public'",
            null, Cancel)).ShouldBe(0);
        folder.Add("02_up_b.sql", "ALTER TABLE missing ADD COLUMN b integer;");
        (await RefusalAsync(() => folder.Migrator(database.Db).DryRunAsync(3, allowDowngrade: false, Cancel)))
            .ShouldContain("02_up_b.sql failed at line 1");
    }

    sealed class Lines : ILogger
    {
        readonly System.Collections.Concurrent.ConcurrentQueue<string> lines = new();

        public bool Has(string text) => lines.Any(l => l.Contains(text, StringComparison.Ordinal));

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel level) => true;

        public void Log<TState>(
            LogLevel level, EventId id, TState state, Exception? error, Func<TState, Exception?, string> text) =>
            lines.Enqueue(text(state, error));
    }
}
