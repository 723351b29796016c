using Dapper;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// How a standby notices that the active Hub is dead although the server still keeps its connection: that connection
/// has not sent a statement for longer than the lease. Only this process's own clock counts, from when it first saw the
/// last statement, and only while the server responds: a server that was frozen must not cost anybody the seat.
/// </summary>
public sealed class SeatRivals(TimeProvider time)
{
    /// <summary>
    /// Longer than <see cref="Seat.Lease"/>: by then the active Hub no longer counts itself as active.
    /// </summary>
    static readonly TimeSpan DeadAfter = Seat.Lease + TimeSpan.FromSeconds(1);

    /// <summary>With a longer pause between two looks, the server or this process was frozen itself.</summary>
    static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(3);

    SeatHolderRow? seen;
    long firstSeen, lastLook;

    /// <summary>Ends the connection of a dead holder. Returns its name, or null if the holder is alive.</summary>
    public async Task<string?> EndDeadAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var holder = await connection.QuerySingleOrDefaultAsync<SeatHolderRow>(new CommandDefinition(SeatSql.Holder,
            new { key = SeatSql.LockKey, lease = SeatSql.LeaseKey }, cancellationToken: cancel));
        var now = time.GetTimestamp();
        var paused = time.GetElapsedTime(lastLook, now) > LongestPause;
        lastLook = now;
        if (holder is null || holder != seen || paused)
        {
            (seen, firstSeen) = (holder, now);
            return null;
        }
        if (time.GetElapsedTime(firstSeen, now) < DeadAfter) return null;
        await connection.ExecuteScalarAsync<bool>(new CommandDefinition(SeatSql.EndHolder,
            new { pid = holder.Pid, holder.Began }, cancellationToken: cancel));
        seen = null;
        return holder.Name;
    }
}
