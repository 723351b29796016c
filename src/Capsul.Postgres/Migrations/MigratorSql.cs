namespace Capsul.Postgres.Migrations;

/// <summary>An applied script, as it was when it ran.</summary>
/// <param name="RawChecksum">SHA-256 of its bytes, hex.</param>
/// <param name="Checksum">Over its tokens, hex; see <see cref="Text.SqlText.Checksum"/>.</param>
/// <param name="DownChecksum">The same for the down script; null if there was none.</param>
sealed record ScriptSeal(int Version, string RawChecksum, string Checksum, string? DownChecksum);

/// <summary>The same for people.</summary>
/// <param name="TookMs">Milliseconds; null for a script that ran before there was a record.</param>
public sealed record AppliedScript(
    int Version, string Name, DateTime Applied, string AppliedBy, int? TookMs,
    string RawChecksum, string Checksum, string? DownChecksum);

/// <summary>A statement of a script that runs without a transaction.</summary>
/// <param name="Ordinal">From 1.</param>
/// <param name="Alone">It runs outside any transaction, so that its outcome can be unknown.</param>
/// <param name="Outcome">running, done or failed. Running without a process working on it means: interrupted.</param>
public sealed record RecordedStatement(
    int Version, bool Up, int Ordinal, string Statement, bool Alone, string Outcome,
    DateTime Started, DateTime? Finished, string Problem);

/// <param name="ComparedWith">The build whose scripts were last found to match the applied ones; "" if there was
/// none.</param>
sealed record SchemaSummary(int Version, string ComparedWith, bool Unfinished);

/// <summary>A blocking session.</summary>
/// <param name="Since">Start of its transaction, or of the session.</param>
sealed record BlockingSession(int Pid, string Application, string Person, DateTime Since, string Query);

static class MigratorSql
{
    /// <summary>An arbitrary number, the same in every Capsul: "capsul" as hex.</summary>
    public const long LockKey = 0x63617073756c;

    /// <summary>
    /// Held by the connection that does the work. The server continues a statement for a moment after its client was
    /// killed, and until then no other process may begin.
    /// </summary>
    public const long WorkKey = LockKey + 1;

    public const string TryLock = """
        -- MigratorSql.TryLock
        SELECT pg_try_advisory_lock(@key)
        """;

    /// <summary>Who holds the lock, as far as the server reports it.</summary>
    public const string Holder = """
        -- MigratorSql.Holder
        SELECT format('%s of user %s%s (pid %s, since %s)', coalesce(nullif(a.application_name, ''), 'a session'),
            a.usename,
            coalesce(' at ' || host(a.client_addr), ''), a.pid, to_char(a.backend_start AT TIME ZONE 'UTC',
                'YYYY-MM-DD HH24:MI:SS "UTC"'))
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted AND ((l.classid::bigint << 32) | l.objid::bigint) = @key
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        LIMIT 1
        """;

    /// <summary>Makes the server cancel a statement within a second after its client is gone.</summary>
    public const string PrepareSession = """
        -- MigratorSql.PrepareSession
        SELECT pg_backend_pid() FROM (SELECT set_config('client_connection_check_interval', '1s', FALSE),
            set_config('statement_timeout', '0', FALSE)) AS set
        """;

    public const string SetLockTimeout = """
        -- MigratorSql.SetLockTimeout
        SELECT set_config('lock_timeout', @limit, @local)
        """;

    /// <summary>Sessions that block the session @pid.</summary>
    public const string Blocking = """
        -- MigratorSql.Blocking
        SELECT a.pid, coalesce(a.application_name, '') AS application, coalesce(a.usename::text,
            'the server') AS person,
            coalesce(a.xact_start, a.backend_start, now()) AS since, left(regexp_replace(coalesce(a.query, ''), '\s+',
                ' ', 'g'), 80) AS query
        FROM unnest(pg_blocking_pids(@pid)) AS b JOIN pg_stat_activity a ON a.pid = b
        ORDER BY since
        """;

    public const string MakeVersion = """
        -- MigratorSql.MakeVersion
        CREATE TABLE schemaversion (version integer NOT NULL);
        INSERT INTO schemaversion (version) VALUES (0);
        """;

    /// <summary>The migrator's own tables: what ran, and what was started.</summary>
    public const string MakeRecords = """
        -- MigratorSql.MakeRecords
        CREATE TABLE IF NOT EXISTS schema_scripts (
            version         integer PRIMARY KEY,
            name            text NOT NULL,
            applied         timestamptz NOT NULL DEFAULT now(),
            applied_by      text NOT NULL,
            took_ms         integer CHECK (took_ms >= 0),
            raw_checksum    text NOT NULL,
            checksum        text NOT NULL,
            down_checksum   text,
            -- In the newest row: the build whose scripts were all found to match the applied ones.
            compared_with   text NOT NULL DEFAULT ''
        );
        CREATE TABLE IF NOT EXISTS schema_statements (
            version     integer NOT NULL,
            up          boolean NOT NULL,
            ordinal     integer NOT NULL CHECK (ordinal > 0),
            statement   text NOT NULL,
            alone       boolean NOT NULL,
            outcome     text NOT NULL CHECK (outcome IN ('running', 'done', 'failed')),
            started     timestamptz NOT NULL DEFAULT clock_timestamp(),
            finished    timestamptz,
            problem     text NOT NULL DEFAULT '',
            PRIMARY KEY (version, up, ordinal),
            CHECK ((finished IS NULL) = (outcome = 'running'))
        );
        """;

    public const string TableExists = """
        -- MigratorSql.TableExists
        SELECT to_regclass(@name) IS NOT NULL
        """;

    /// <summary>Everything that a start with nothing to do needs to know.</summary>
    public const string Summary = """
        -- MigratorSql.Summary
        SELECT v.version, coalesce(s.compared_with, '') AS compared_with, EXISTS (SELECT 1 FROM schema_statements t
            WHERE t.up = (t.version > v.version)) AS unfinished
        FROM schemaversion v LEFT JOIN schema_scripts s ON s.version = v.version
        """;

    public const string Compared = """
        -- MigratorSql.Compared
        UPDATE schema_scripts SET compared_with = @identity WHERE version = (SELECT version FROM schemaversion)
        """;

    public const string SetVersion = """
        -- MigratorSql.SetVersion
        UPDATE schemaversion SET version = @version WHERE version = @from
        """;

    public const string Seals = """
        -- MigratorSql.Seals
        SELECT version, raw_checksum, checksum, down_checksum FROM schema_scripts ORDER BY version
        """;

    public const string ListApplied = """
        -- MigratorSql.ListApplied
        SELECT version, name, applied, applied_by, took_ms, raw_checksum, checksum, down_checksum FROM schema_scripts
            ORDER BY version
        """;

    /// <summary>
    /// Statements of an unfinished script: an up script above the version, a down script at or below it.
    /// </summary>
    public const string Unfinished = """
        -- MigratorSql.Unfinished
        SELECT s.version, s.up, s.ordinal, s.statement, s.alone, s.outcome, s.started, s.finished, s.problem
        FROM schema_statements s, schemaversion v
        WHERE s.up = (s.version > v.version)
        ORDER BY s.version, s.ordinal
        """;

    public const string RecordScript = """
        -- MigratorSql.RecordScript
        INSERT INTO schema_scripts (version, name, applied_by, took_ms, raw_checksum, checksum, down_checksum)
        VALUES (@version, @name, @appliedBy, CASE WHEN @ran THEN round(extract(epoch
            FROM clock_timestamp() - least(now(),
            (SELECT min(started) FROM schema_statements WHERE version = @version AND up))) * 1000)::integer END,
                @rawChecksum, @checksum, @downChecksum)
        ON CONFLICT (version) DO UPDATE SET name = excluded.name, applied = now(), applied_by = excluded.applied_by,
            took_ms = excluded.took_ms,
            raw_checksum = excluded.raw_checksum, checksum = excluded.checksum, down_checksum = excluded.down_checksum
        """;

    /// <summary>
    /// Only comments or line ends differ: updates the checksum so that the cheap comparison succeeds from now on.
    /// </summary>
    public const string RefreshRaw = """
        -- MigratorSql.RefreshRaw
        UPDATE schema_scripts SET raw_checksum = @rawChecksum WHERE version = @version
        """;

    public const string ForgetScriptsAbove = """
        -- MigratorSql.ForgetScriptsAbove
        DELETE FROM schema_scripts WHERE version > @version
        """;

    /// <summary>Deletes what was started in the other direction, at the end of this script.</summary>
    public const string ForgetStatements = """
        -- MigratorSql.ForgetStatements
        DELETE FROM schema_statements WHERE version = @version AND up = @up
        """;

    public const string StatementBegins = """
        -- MigratorSql.StatementBegins
        INSERT INTO schema_statements (version, up, ordinal, statement, alone, outcome) VALUES (@version, @up, @ordinal,
            @statement, @alone, 'running')
        ON CONFLICT (version, up, ordinal) DO UPDATE SET statement = excluded.statement, alone = excluded.alone,
            outcome = 'running',
            started = clock_timestamp(), finished = NULL, problem = ''
        """;

    public const string StatementEnds = """
        -- MigratorSql.StatementEnds
        UPDATE schema_statements SET outcome = @outcome, finished = clock_timestamp(), problem = @problem
        WHERE version = @version AND up = @up AND ordinal = @ordinal
        """;

    public const string ForgetStatement = """
        -- MigratorSql.ForgetStatement
        DELETE FROM schema_statements WHERE version = @version AND up = @up AND ordinal = @ordinal
        """;

    /// <summary>
    /// Whether the index of that name is valid; no row if it does not exist. An interrupted concurrent build leaves an
    /// invalid one.
    /// </summary>
    public const string IndexIsWhole = """
        -- MigratorSql.IndexIsWhole
        SELECT indisvalid AND indisready FROM pg_index WHERE indexrelid = to_regclass(@name)
        """;

    /// <summary>A table other than @except that has a row.</summary>
    public const string TableWithRows = """
        -- MigratorSql.TableWithRows
        SELECT c.oid::regclass::text FROM pg_class c
        WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.relname <> ALL (@except::text[])
            AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
            AND query_to_xml(format('SELECT 1 FROM %s LIMIT 1', c.oid::regclass), FALSE, TRUE, '')::text <> ''
        LIMIT 1
        """;
}
