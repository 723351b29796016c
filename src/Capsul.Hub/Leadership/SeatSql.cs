using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>The seat as the database has it.</summary>
public sealed record SeatRow(long Epoch, string Holder, DateTime TakenAt);

/// <summary>One Hub process, known by the connection on which it holds the seat or waits for it.</summary>
public sealed record HubRow(string Name, DateTime Since, bool Acting);

public static class SeatSql
{
    /// <summary>Key of the session lock: "seat" as hex.</summary>
    public const long LockKey = 0x73656174;

    /// <summary>Each Hub has one connection with this name and its own behind it.</summary>
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
    /// A restored database is older than what the Spokes have last been told. They obey a higher epoch whatever its
    /// generations are, so the epoch jumps further than any number of fail-overs could have brought it since the
    /// backup.
    /// </summary>
    public const string Lift = """
        -- SeatSql.Lift
        UPDATE seat SET epoch = epoch + 1000000, holder = '', taken_at = now() RETURNING epoch
        """;

    /// <summary>Every Hub process that is connected, the acting one first.</summary>
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
    /// First statement of every transaction of background work: when another process has taken the seat, nothing more
    /// is written. The share lock makes a taker wait until this transaction ends.
    /// </summary>
    /// <exception cref="SeatLostException">The epoch is no longer in force.</exception>
    public static async Task HoldSeatAsync(this NpgsqlTransaction transaction, long epoch, CancellationToken cancel)
    {
        if (await transaction.FindAsync<long?>(Hold, new { epoch }, cancel) is null) throw new SeatLostException(epoch);
    }

    /// <summary>
    /// One statement of background work, in a transaction of its own that holds the seat; gives the number of rows.
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

/// <summary>Another process has taken the seat; everything that was being written is rolled back.</summary>
public sealed class SeatLostException(long epoch) : FencedException($"Epoch {epoch} is no longer in force.");
