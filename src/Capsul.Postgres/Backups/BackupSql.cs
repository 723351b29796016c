namespace Capsul.Postgres.Backups;

/// <summary>A backup as the database remembers it. Null sizes and times: it has not come to that.</summary>
public sealed record BackupRow(
    long Id, string Reason, DateTime Started, DateTime? Finished, string File,
        string Format, string EncryptedTo, int SchemaVersion, long? Bytes, DateTime? Proved, string Proof,
    string Problem);

public static class BackupSql
{
    /// <summary>
    /// One statement for each table of ours, made by the server: <c>SELECT count(*) AS rows, … AS sums FROM
    /// schema.table</c>.
    /// </summary>
    public const string CountStatements = """
        -- BackupSql.CountStatements
        SELECT n.nspname || '.' || c.relname AS name,
            format('SELECT count(*) AS rows, concat_ws('', ''%s) AS sums FROM %I.%I',
                coalesce((SELECT string_agg(format(', %L || coalesce(sum(%I), 0)', a.attname || '=', a.attname), ''
                    ORDER BY a.attnum)
                    FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND a.atttypid = 'numeric'::regtype), ', NULL'),
                n.nspname, c.relname) AS statement
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND n.nspname NOT LIKE 'pg\_%'
        ORDER BY name
        """;

    /// <summary>A dump takes the search path away, for all that comes behind it in its transaction too.</summary>
    public const string SearchPath = """
        -- BackupSql.SearchPath
        SELECT set_config('search_path', 'public', true)
        """;

    /// <summary>A temporary table that is gone when the transaction of a restore is.</summary>
    public const string Mark = "capsul_restore_mark";

    public const string MarkTransaction = $"""
        -- BackupSql.MarkTransaction
        CREATE TEMPORARY TABLE {Mark} (one integer) ON COMMIT DROP
        """;

    /// <summary>Fails when the dump has ended the transaction.</summary>
    public const string CheckTransaction = $"""
        -- BackupSql.CheckTransaction
        DROP TABLE pg_temp.{Mark}
        """;

    public const string LargeObjectCount = """
        -- BackupSql.LargeObjectCount
        SELECT count(*) FROM pg_largeobject_metadata
        """;

    public const string ExportSnapshot = """
        -- BackupSql.ExportSnapshot
        SELECT pg_export_snapshot()
        """;

    /// <summary>Whether the schema is new enough to remember backups, and its version; 0 when there is none.</summary>
    public const string CanRemember = """
        -- BackupSql.CanRemember
        SELECT to_regclass('backups') IS NOT NULL
        """;

    public const string Begin = """
        -- BackupSql.Begin
        INSERT INTO backups (reason, started, file, format, encrypted_to, schema_version)
        VALUES (@reason, @now, @file, @format, @encryptedTo, @schemaVersion) RETURNING id
        """;

    public const string Finish = """
        -- BackupSql.Finish
        UPDATE backups SET finished = @now, bytes = @bytes, proved = @proved, proof = @proof WHERE id = @id
        """;

    public const string Fail = """
        -- BackupSql.Fail
        UPDATE backups SET problem = @problem WHERE id = @id
        """;

    const string Columns =
        "id, reason, started, finished, file, format, encrypted_to, schema_version, bytes, proved, proof, problem";

    /// <summary>The newest verified one, whoever requested it.</summary>
    public const string LastProved = $"""
        -- BackupSql.LastProved
        SELECT {Columns} FROM backups WHERE proved IS NOT NULL AND removed IS NULL ORDER BY proved DESC, id DESC LIMIT 1
        """;

    public const string LastScheduled = $"""
        -- BackupSql.LastScheduled
        SELECT {Columns} FROM backups WHERE reason = 'scheduled' ORDER BY id DESC LIMIT 1
        """;

    /// <summary>Those that are whole and not deleted, on whatever machine, the newest first.</summary>
    public const string Kept = $"""
        -- BackupSql.Kept
        SELECT {Columns} FROM backups WHERE finished IS NOT NULL AND removed IS NULL ORDER BY id DESC
        """;

    /// <summary>
    /// Those that have neither ended nor failed, nor were followed by a verified one: they are running, or were killed.
    /// The newest first.
    /// </summary>
    public const string Endless = $"""
        -- BackupSql.Endless
        SELECT {Columns} FROM backups
        WHERE finished IS NULL AND problem = '' AND id > coalesce((SELECT max(id) FROM backups
            WHERE proved IS NOT NULL), 0)
        ORDER BY id DESC
        """;

    /// <summary>A backup contains its own row, which is not finished yet.</summary>
    public const string ForgetEndless = """
        -- BackupSql.ForgetEndless
        DELETE FROM backups WHERE finished IS NULL AND problem = ''
        """;

    public const string Removed = """
        -- BackupSql.Removed
        UPDATE backups SET removed = @now WHERE id = @id
        """;

    /// <summary>
    /// How many tables hold anything of ours or anybody's. What came with an extension is the server's.
    /// </summary>
    public const string TableCount = """
        -- BackupSql.TableCount
        SELECT count(*)::integer FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND n.nspname NOT LIKE 'pg\_%'
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND d.deptype = 'e')
        """;

    /// <summary>By the server, which quotes the names: what is to be run, as text.</summary>
    public const string RenameStatement = """
        -- BackupSql.RenameStatement
        SELECT format('ALTER DATABASE %I RENAME TO %I', @from::text, @to::text)
        """;

    public const string CreateStatement = """
        -- BackupSql.CreateStatement
        SELECT format('CREATE DATABASE %I', @name::text)
        """;

    public const string DropStatement = """
        -- BackupSql.DropStatement
        SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', @name::text)
        """;

    /// <summary>Ends all sessions that this user may end: a superuser all, others not those of superusers.</summary>
    public const string EndSessions = """
        -- BackupSql.EndSessions
        SELECT count(pg_terminate_backend(a.pid))::integer FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
        WHERE a.datname = @name AND a.pid <> pg_backend_pid()
            AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                OR NOT r.rolsuper AND (pg_has_role(a.usesysid, 'MEMBER') OR pg_has_role('pg_signal_backend', 'MEMBER')))
        """;

    /// <summary>Who is in, for people.</summary>
    public const string Sessions = """
        -- BackupSql.Sessions
        SELECT coalesce(nullif(application_name, ''), backend_type) || ' (user ' || coalesce(usename,
            '-') || ', pid ' || pid || ')'
        FROM pg_stat_activity WHERE datname = @name AND pid <> pg_backend_pid() ORDER BY pid
        """;
}
