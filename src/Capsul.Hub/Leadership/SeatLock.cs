using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Dapper;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// The lock of the seat without its epoch, for work during which no Hub may act: changing the schema, restoring a
/// backup. As long as the connection is open, no Hub begins.
/// </summary>
public static class SeatLock
{
    /// <summary>
    /// No Hub acts during a restore, and Spokes obey the next one although the database is older than what they know.
    /// </summary>
    public static RestoreFence ForRestore { get; } = new((db, cancel) =>
        TakeAsync(db, "capsul restore", cancel), SeatSql.Lift);

    /// <summary>Takes it on a connection of its own; refused while a Hub acts.</summary>
    /// <exception cref="ProblemException">Conflict, naming the Hub.</exception>
    public static async Task<NpgsqlConnection> TakeAsync(Db db, string applicationName, CancellationToken cancel)
    {
        var connection = await db.OpenAloneAsync(applicationName, cancel);
        if (await TryAsync(connection, cancel)) return connection;
        var hub = await FindHubAsync(connection, cancel);
        await connection.DisposeAsync();
        throw new ProblemException(ProblemKind.Conflict, hub is null
            ? "Another process is changing the schema or restoring a backup; nothing was changed."
            : $"A Hub is active on this database ({hub}). Stop it first; nothing was changed.");
    }

    public static Task<bool> TryAsync(NpgsqlConnection connection, CancellationToken cancel) =>
        connection.ExecuteScalarAsync<bool>(
            new CommandDefinition(SeatSql.TryLock, new { key = SeatSql.LockKey }, cancellationToken: cancel));

    /// <summary>
    /// The Hub that holds it, by the lock itself, because the table of the seat may not be there yet; null when no Hub
    /// does.
    /// </summary>
    public static async Task<string?> FindHubAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var hubs = await connection.QueryAsync<HubRow>(
            new CommandDefinition(SeatSql.Hubs, new { key = SeatSql.LockKey }, cancellationToken: cancel));
        return hubs.FirstOrDefault(h => h.Acting)?.Name;
    }
}
