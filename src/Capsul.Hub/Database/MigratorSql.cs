namespace Capsul.Hub.Database;

static class MigratorSql
{
    /// <summary>Any number, the same in every Capsul: "capsul" as hex.</summary>
    public const long LockKey = 0x63617073756c;

    public const string ServerVersion = """
        -- MigratorSql.ServerVersion
        SELECT current_setting('server_version_num')::integer
        """;

    public const string TryLock = """
        -- MigratorSql.TryLock
        SELECT pg_try_advisory_lock(@key)
        """;

    public const string Unlock = """
        -- MigratorSql.Unlock
        SELECT pg_advisory_unlock(@key)
        """;

    /// <summary>Who holds the lock, as far as the server tells.</summary>
    public const string Holder = """
        -- MigratorSql.Holder
        SELECT format('%s (pid %s, since %s)', a.application_name, a.pid, a.backend_start)
        FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted AND ((l.classid::bigint << 32) | l.objid::bigint) = @key
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        LIMIT 1
        """;

    public const string TableExists = """
        -- MigratorSql.TableExists
        SELECT to_regclass('schemaversion') IS NOT NULL
        """;

    public const string MakeTable = """
        -- MigratorSql.MakeTable
        CREATE TABLE schemaversion (version integer NOT NULL);
        INSERT INTO schemaversion (version) VALUES (0);
        """;

    public const string Version = """
        -- MigratorSql.Version
        SELECT version FROM schemaversion
        """;

    public const string SetVersion = """
        -- MigratorSql.SetVersion
        UPDATE schemaversion SET version = @version WHERE version = @from
        """;
}
