using Capsul.Hub.Database;

namespace Capsul.Hub.Engine;

/// <summary>The seat as the database has it.</summary>
public sealed record SeatRow(long Epoch, string Holder, DateTime TakenAt);

public static class SeatSql
{
    /// <summary>Key of the session lock: "seat" as hex.</summary>
    public const long LockKey = 0x73656174;

    public const string TryLock = """
        -- SeatSql.TryLock
        SELECT pg_try_advisory_lock(@key)
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
    /// First statement of every transaction of background work: no row means that another process has taken the seat. The share lock
    /// makes a taker wait until this transaction ends.
    /// </summary>
    public const string Hold = """
        -- SeatSql.Hold
        SELECT epoch FROM seat WHERE epoch = @epoch FOR SHARE
        """;

    /// <summary>Who holds the seat.</summary>
    public static Task<SeatRow?> FindSeatAsync(this Db db, CancellationToken cancel) => db.FindAsync<SeatRow>(Find, null, cancel);
}
