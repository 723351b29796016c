using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>The seat's row.</summary>
public sealed record SeatRow(long Epoch, string Holder, DateTime TakenAt);

/// <summary>One Hub process, identified by the connection on which it holds or awaits the seat.</summary>
public sealed record HubRow(string Name, DateTime Since, bool Acting);

public static class SeatSql
{
    /// <summary>Key of the session lock: "seat" as hex.</summary>
    public const long LockKey = 0x73656174;

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

    public const string Take = """
        -- SeatSql.Take
        UPDATE seat SET epoch = epoch + 1, holder = @holder, taken_at = now() RETURNING epoch
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

    public const string Hold = """
        -- SeatSql.Hold
        SELECT epoch FROM seat WHERE epoch = @epoch FOR SHARE
        """;

    /// <summary>
    /// First statement of every transaction of background work: if another process has acquired the seat, nothing is
    /// written. The share lock makes another process wait until this transaction ends.
    /// </summary>
    /// <exception cref="SeatLostException">The epoch is no longer in force.</exception>
    public static async Task HoldSeatAsync(this NpgsqlTransaction transaction, long epoch, CancellationToken cancel)
    {
        if (await transaction.FindAsync<long?>(Hold, new { epoch }, cancel) is null) throw new SeatLostException(epoch);
    }

    /// <summary>
    /// Runs one statement of background work in its own transaction, fenced by the seat; returns the number of rows.
    /// </summary>
    /// <exception cref="SeatLostException">The epoch is no longer in force.</exception>
    public static Task<int> ActAsync(this Db db, long epoch, string sql, object parameters, CancellationToken cancel) =>
        db.InTransactionAsync(async transaction =>
    {
        await transaction.HoldSeatAsync(epoch, cancel);
        return await transaction.ExecuteAsync(sql, parameters, cancel);
    }, cancel);

    /// <summary>Who holds the seat.</summary>
    public static Task<SeatRow?> FindSeatAsync(this Db db, CancellationToken cancel) =>
        db.FindAsync<SeatRow>(Find, null, cancel);
}

/// <summary>Another process has acquired the seat; the transaction is rolled back.</summary>
public sealed class SeatLostException(long epoch) : FencedException($"Epoch {epoch} is no longer in force.");
