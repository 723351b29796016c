namespace Capsul.Postgres.Checks;

public sealed record ServerRow(
    string Version, string Fsync, string SynchronousCommit, string FullPageWrites,
        string TimeZone, int MaxConnections, int Reserved, int Connections, bool InRecovery,
    long Bytes, long OldestTransaction, string Encoding);

public sealed record LongTransactionRow(
    int Pid, string User, string Application, string State, double Seconds, string Query);

public sealed record BloatRow(string Table, long Live, long Dead, DateTime? Vacuumed);

public sealed record ReplicaRow(string Name, string State, string SyncState, long? LagBytes, double? LagSeconds);

public static class CheckSql
{
    public const string Server = """
        -- CheckSql.Server
        SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
            current_setting('synchronous_commit') AS synchronous_commit,
            current_setting('full_page_writes') AS full_page_writes,
            (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone') AS time_zone,
            current_setting('max_connections')::integer AS max_connections,
                current_setting('superuser_reserved_connections')::integer AS reserved,
            (SELECT count(*)::integer FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
                pg_is_in_recovery() AS in_recovery,
            pg_database_size(current_database()) AS bytes, (SELECT max(age(datfrozenxid))::bigint
                FROM pg_database) AS oldest_transaction,
            (SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()) AS encoding
        """;

    /// <summary>Transactions open for more than five minutes: they hold vacuum back, and migrations.</summary>
    public const string LongTransactions = """
        -- CheckSql.LongTransactions
        SELECT pid, coalesce(usename, '')::text AS "user", application_name AS application, coalesce(state,
            '') AS state, extract(epoch FROM now() - xact_start)::double precision AS seconds,
            left(regexp_replace(query, '\s+', ' ', 'g'), 80) AS query
        FROM pg_stat_activity
        WHERE xact_start < now() - interval '5 minutes' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
            AND query NOT LIKE 'COPY public.%'
        ORDER BY xact_start
        """;

    /// <summary>Tables of which more than a fifth, and more than ten thousand rows, is dead.</summary>
    public const string Bloat = """
        -- CheckSql.Bloat
        SELECT relname::text AS "table", n_live_tup AS live, n_dead_tup AS dead, greatest(last_vacuum,
            last_autovacuum) AS vacuumed
        FROM pg_stat_user_tables WHERE n_dead_tup > 10000 AND n_dead_tup > n_live_tup / 5 ORDER BY n_dead_tup DESC
        """;

    /// <summary>The standbys of this server. A user without pg_monitor sees them without figures.</summary>
    public const string Replicas = """
        -- CheckSql.Replicas
        SELECT coalesce(application_name, '') AS name, coalesce(state, '') AS state, coalesce(sync_state,
            '') AS sync_state,
            pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn() END,
                replay_lsn)::bigint AS lag_bytes,
            extract(epoch FROM replay_lag)::double precision AS lag_seconds
        FROM pg_stat_replication ORDER BY 1
        """;

    /// <summary>
    /// Databases that a killed backup or restore left beside this one; those with sessions are still in use.
    /// </summary>
    public const string Leftovers = """
        -- CheckSql.Leftovers
        SELECT d.datname::text FROM pg_database d
        WHERE (starts_with(d.datname, @scratch) OR starts_with(d.datname, current_database() || '_restored_'))
            AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.datid = d.oid)
        ORDER BY 1
        """;
}
