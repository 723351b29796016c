using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Dapper;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// The seat's lock without an epoch, for work during which no Hub may be active: changing the schema, restoring a
/// backup. As long as the connection is open, no Hub becomes active.
/// </summary>
public static class SeatLock
{
    /// <summary>
    /// No Hub is active during a restore, and Spokes follow the next one although the database is older than their
    /// state.
    /// </summary>
    public static RestoreFence ForRestore { get; } = new((db, cancel) =>
        TakeAsync(db, "capsul restore", cancel), SeatSql.Lift);

    /// <summary>Acquires it on a dedicated connection; refused while a Hub is active.</summary>
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
    /// The Hub that holds it, found through the lock itself, because the table may not exist yet; null if no Hub does.
    /// </summary>
    public static async Task<string?> FindHubAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var hubs = await connection.QueryAsync<HubRow>(
            new CommandDefinition(SeatSql.Hubs, new { key = SeatSql.LockKey }, cancellationToken: cancel));
        return hubs.FirstOrDefault(h => h.Acting)?.Name;
    }
}
