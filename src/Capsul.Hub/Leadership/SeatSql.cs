using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>The seat's row.</summary>
public sealed record SeatRow(long Epoch, string Holder, DateTime TakenAt);

/// <summary>One Hub process, identified by the connection on which it holds or awaits the seat.</summary>
public sealed record HubRow(string Name, DateTime Since, bool Acting);

/// <summary>
/// The connection that holds the seat under a lease, and the time of its last statement, by the server's clock.
/// </summary>
public sealed record SeatHolderRow(int Pid, DateTime Began, string Name, DateTime? LastStatement);

/// <summary>Where Spokes reach a Hub.</summary>
public sealed record HubAddressRow(string LinkAddress, bool Acting);

public static class SeatSql
{
    /// <summary>Key of the session lock: "seat" as hex.</summary>
    public const long LockKey = 0x73656174;

    /// <summary>
    /// Key of a second session lock, "leas" as hex, of those who hold the seat and send a statement every second.
    /// Changing the schema and restoring a backup hold the seat without that promise.
    /// </summary>
    public const long LeaseKey = 0x6c656173;

    /// <summary>
    /// Key of the transaction lock, "fenc" as hex: shared by background work, exclusive for who raises the epoch. Also
    /// in the database's function hold_seat.
    /// </summary>
    public const long FenceKey = 0x66656e63;

    /// <summary>Each Hub has one connection with this prefix and its own name.</summary>
    public const string ConnectionName = "capsul seat ";

    public const string TryLock = """
        -- SeatSql.TryLock
        SELECT pg_try_advisory_lock(@key)
        """;

    /// <summary>Always so on a server in recovery.</summary>
    public const string IsReadOnly = """
        -- SeatSql.IsReadOnly
        SELECT current_setting('transaction_read_only')::boolean
        """;

    /// <summary>Seat and lease together; without the seat, the lease is not touched.</summary>
    public const string TryLockWithLease = """
        -- SeatSql.TryLockWithLease
        SELECT CASE WHEN pg_try_advisory_lock(@key) THEN pg_try_advisory_lock(@lease) ELSE FALSE END
        """;

    /// <summary>
    /// The server notices within 8 s that this client's machine is gone. Without effect on a Unix socket.
    /// </summary>
    public const string KeepAlive = """
        -- SeatSql.KeepAlive
        SELECT set_config('tcp_keepalives_idle', '2', FALSE), set_config('tcp_keepalives_interval', '2', FALSE),
            set_config('tcp_keepalives_count', '3', FALSE), set_config('tcp_user_timeout', '8000', FALSE)
        """;

    /// <summary>The holder under a lease. A user without the right to see its statements sees no time.</summary>
    public const string Holder = """
        -- SeatSql.Holder
        SELECT a.pid, a.backend_start AS began, substr(a.application_name, length('capsul seat ') + 1) AS name,
            greatest(a.query_start, a.state_change) AS last_statement
        FROM pg_locks l JOIN pg_locks p ON p.pid = l.pid AND p.locktype = 'advisory' AND p.granted
                AND p.database = l.database AND p.classid = 0 AND p.objid::bigint = @lease
            JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid::bigint = @key
            AND a.datname = current_database() AND a.state_change IS NOT NULL
        """;

    public const string EndHolder = """
        -- SeatSql.EndHolder
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = @pid AND backend_start = @began
        """;

    public const string FenceLimit = """
        -- SeatSql.FenceLimit
        SELECT set_config('lock_timeout', '1s', TRUE)
        """;

    /// <summary>Waits for the background work that is open; what begins later waits for this one.</summary>
    public const string LockFence = """
        -- SeatSql.LockFence
        SELECT pg_advisory_xact_lock(@key)::text
        """;

    /// <summary>Ends the connections of background work that is still open under an earlier epoch.</summary>
    public const string EndFenced = """
        -- SeatSql.EndFenced
        SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid::bigint = @key
            AND a.datname = current_database() AND l.pid <> pg_backend_pid()
        """;

    public const string Take = """
        -- SeatSql.Take
        UPDATE seat SET epoch = epoch + 1, holder = @holder, link_address = @linkAddress, taken_at = now()
        RETURNING epoch
        """;

    public const string Register = """
        -- SeatSql.Register
        WITH old AS (DELETE FROM hubs WHERE seen < now() - interval '1 day')
        INSERT INTO hubs (name, link_address, seen) VALUES (@name, @linkAddress, now())
        ON CONFLICT (name) DO UPDATE SET link_address = excluded.link_address, seen = excluded.seen
        """;

    /// <summary>The addresses of all Hubs, the active one's first.</summary>
    public const string Addresses = """
        -- SeatSql.Addresses
        SELECT link_address, bool_or(acting) AS acting FROM (
            SELECT link_address, TRUE AS acting, taken_at AS seen FROM seat
            UNION ALL SELECT link_address, FALSE, seen FROM hubs) AS known
        WHERE link_address <> '' GROUP BY link_address ORDER BY acting DESC, max(seen) DESC LIMIT 16
        """;

    public const string Ping = """
        -- SeatSql.Ping
        SELECT epoch FROM seat
        """;

    public const string Find = """
        -- SeatSql.Find
        SELECT epoch, holder, taken_at FROM seat
        """;

    /// <summary>
    /// A restored database is older than what the Spokes were last sent. They follow a higher epoch regardless of its
    /// generations, so the epoch jumps further than any number of failovers since the backup could have raised it.
    /// </summary>
    public const string Lift = """
        -- SeatSql.Lift
        UPDATE seat SET epoch = epoch + 1000000, holder = '', taken_at = now() RETURNING epoch
        """;

    /// <summary>The same, from an epoch that is known from elsewhere if it is higher.</summary>
    public const string LiftOver = """
        -- SeatSql.LiftOver
        UPDATE seat SET epoch = greatest(epoch, @epoch) + 1000000, holder = '', taken_at = now() RETURNING epoch
        """;

    /// <summary>All connected Hub processes, the active one first.</summary>
    public const string Hubs = """
        -- SeatSql.Hubs
        SELECT substr(a.application_name, length('capsul seat ') + 1) AS name, a.backend_start AS since,
            l.pid IS NOT NULL AS acting
        FROM pg_stat_activity a
            LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory' AND l.granted AND l.objid::bigint = @key
                AND l.classid = 0
        WHERE a.application_name LIKE 'capsul seat %' AND a.datname = current_database()
        ORDER BY acting DESC, since
        """;

    /// <summary>
    /// Whether the epoch is in force; it stays so until the transaction ends (see the database's function).
    /// </summary>
    public const string Hold = """
        -- SeatSql.Hold
        SELECT hold_seat(@epoch)
        """;

    /// <summary>
    /// The same, and the transaction collects its notifications (the database's function announce) instead of sending
    /// them.
    /// </summary>
    public const string HoldQuietly = """
        -- SeatSql.HoldQuietly
        SELECT hold_seat(@epoch) AND set_config('capsul.changes', ' ', TRUE) <> ''
        """;

    /// <summary>The collected notifications, one a line: channel, space, payload.</summary>
    public const string Collected = """
        -- SeatSql.Collected
        SELECT current_setting('capsul.changes')
        """;

    public const string Commit = """
        -- SeatSql.Commit
        COMMIT
        """;

    /// <summary>
    /// First statement of every transaction of background work: if another process has acquired the seat, nothing is
    /// written. Another process waits with acquiring it until this transaction ends.
    /// </summary>
    /// <exception cref="SeatLostException">The epoch is no longer in force.</exception>
    public static async Task HoldSeatAsync(this NpgsqlTransaction transaction, long epoch, CancellationToken cancel)
    {
        if (!await transaction.AskAsync<bool>(Hold, new { epoch }, cancel)) throw new SeatLostException(epoch);
    }

    /// <summary>Who holds the seat.</summary>
    public static Task<SeatRow?> FindSeatAsync(this Db db, CancellationToken cancel) =>
        db.FindAsync<SeatRow>(Find, null, cancel);
}

/// <summary>Another process has acquired the seat; the transaction is rolled back.</summary>
public sealed class SeatLostException(long epoch) : FencedException($"Epoch {epoch} is no longer in force.");
