using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Postgres.Migrations;

/// <summary>
/// A migration that is killed in every published script: at each statement of those that are not one transaction, and
/// at the first, eighth, 64th, … of the others, where a kill at any of them undoes all. Every tenth time it is the
/// built program, killed with -9. Otherwise its session is ended: the database sees the same.
/// </summary>
public sealed class KillTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>
    /// The database itself stops the migrator: an event trigger counts the statements of a session and waits, at the
    /// one chosen by the test, for a lock that the test holds; or at the first of the next script. The extension is
    /// created beforehand: creating it runs hundreds of statements.
    /// </summary>
    const string Stop = """
        CREATE EXTENSION btree_gist;
        CREATE SCHEMA stops;
        CREATE FUNCTION stops.stop() RETURNS event_trigger LANGUAGE plpgsql AS $$
        DECLARE
            n integer := coalesce(nullif(current_setting('stops.n', TRUE), ''), '0')::integer + 1;
            known text := coalesce(current_setting('stops.version', TRUE), '');
            version text;
        BEGIN
            IF current_setting('application_name') <> 'capsul migrations' THEN RETURN; END IF;
            IF to_regclass('public.schemaversion') IS NOT NULL THEN
                EXECUTE 'SELECT version FROM public.schemaversion' INTO version;
            END IF;
            PERFORM set_config('stops.n', n::text, FALSE), set_config('stops.version', coalesce(version, ''), FALSE);
            IF n = current_setting('stops.at')::integer OR (known <> '' AND known <> version) THEN
                PERFORM pg_advisory_xact_lock(4242);
            END IF;
        END $$;
        CREATE EVENT TRIGGER stop ON ddl_command_start EXECUTE FUNCTION stops.stop();
        """;

    const int ProgramEvery = 10;

    [Fact, Trait(TestLimitAttribute.Minutes, "25")]
    public async Task After_a_kill_at_any_statement_the_next_start_continues_from_the_last_complete_script()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var environment = new Dictionary<string, string>
        {
            ["CAPSUL_DATA"] = TestFolder.Make("killed"),
            ["CAPSUL_DATABASE"] = database.ConnectionString
        };
        var name = new NpgsqlConnectionStringBuilder(database.ConnectionString).Database;
        await database.Db.ExecuteAsync(Stop, null, Cancel);
        // Outside of a transaction: a concurrent index build waits for all transactions.
        await using var holder = await database.Db.OpenAloneAsync("holder", Cancel);
        await using (var hold = new NpgsqlCommand("SELECT pg_advisory_lock(4242)", holder))
            await hold.ExecuteNonQueryAsync(Cancel);
        var (kills, at, before) = (0, 1, await ReachedAsync(database.Db));
        while (true)
        {
            await database.Db.ExecuteAsync($"ALTER DATABASE {name} SET stops.at = '{at}'", null, Cancel);
            var stopped = kills % ProgramEvery == 0
                ? await KillProgramAsync(environment, database.Db) : await EndSessionAsync(database.Db);
            if (!stopped) break;
            kills++;
            var reached = await ReachedAsync(database.Db);
            // In a new script the first statement is the one that was just killed.
            at = reached != before ? 2 : await IsOneTransactionAsync(database.Db) ? at * 8 : at + 1;
            before = reached;
        }
        kills.ShouldBeGreaterThan(50, "it was stopped in each script");
        await database.Db.ExecuteAsync("DROP EVENT TRIGGER stop; DROP SCHEMA stops CASCADE;", null, Cancel);
        (await SchemaCheck.CompareAsync(database.Db, MigrationScripts.Embedded, Migrator.DesiredVersion, Cancel))
            .ShouldBeEmpty();
        (await database.Db.FindAsync<int>("SELECT version FROM schemaversion", null, Cancel))
            .ShouldBe(Migrator.DesiredVersion);
    }

    /// <summary>Whether the script that comes next is.</summary>
    static async Task<bool> IsOneTransactionAsync(Db db)
    {
        var next = (await SchemaCheck.VersionAsync(db, Cancel) ?? 0) + 1;
        return MigrationScripts.Embedded.All.Single(m => m.Up && m.Version == next).Transactional;
    }

    /// <summary>False: it completed instead.</summary>
    static async Task<bool> KillProgramAsync(Dictionary<string, string> environment, Db db)
    {
        await using var program = CapsulProgram.Start(environment, "db", "migrate");
        if (!await StopsAsync(() => program.HasExited, db))
        {
            (await program.EndAsync()).ShouldBe(0, program.Said);
            return false;
        }
        await program.KillAsync();
        await EndSessionsAsync(db);
        return true;
    }

    /// <summary>False: it completed instead.</summary>
    static async Task<bool> EndSessionAsync(Db db)
    {
        var migrating = new Migrator(db, NullLogger.Instance).MigrateAsync(Cancel);
        if (!await StopsAsync(() => migrating.IsCompleted, db))
        {
            await migrating;
            return false;
        }
        await EndSessionsAsync(db);
        await ((Task)migrating).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        migrating.IsFaulted.ShouldBeTrue();
        return true;
    }

    static Task EndSessionsAsync(Db db) => db.ExecuteAsync(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'capsul migrations' "
        + "AND datname = current_database()", null, Cancel);

    /// <summary>Whether it waits where it was told to, before it ends.</summary>
    static async Task<bool> StopsAsync(Func<bool> hasEnded, Db db)
    {
        var stops = false;
        await Until.TrueAsync("it stops or ends", Limit, async () => hasEnded() || (stops = await db.FindAsync<bool>(
            "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND "
            + "application_name = 'capsul migrations' AND wait_event = 'advisory')", null, Cancel)));
        return stops;
    }

    /// <summary>Only complete scripts: the tables must be exactly those of the version.</summary>
    static async Task<string> ReachedAsync(Db db)
    {
        if (await SchemaCheck.VersionAsync(db, Cancel) is not { } version) return "nothing";
        var names = await db.ListAsync<string>(
            "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND "
            + "relname !~ '^schema'", null, Cancel);
        foreach (var (table, since) in (ReadOnlySpan<(string, int)>)[("seat", 1), ("audit_lines", 1), ("accounts", 2),
            ("mails", 2), ("hosts", 3), ("operation_events", 3), ("operator_statements", 4), ("alerts", 4)])
            names.Contains(table).ShouldBe(version >= since, $"{table} at version {version}");
        return $"version {version}";
    }
}
