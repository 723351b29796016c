using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// Migrations run under the seat's lock: the schema never changes under an active Hub. A process that finds pending
/// scripts holds the lock while they run; while another Hub is active it waits, or reports that it would have to. When
/// nothing is pending nobody waits.
/// </summary>
/// <param name="db">The database.</param>
/// <param name="settings">Where the dump before an upgrade goes.</param>
/// <param name="patient">For a Hub that starts: it waits while another Hub is active, and is listed as standby
/// meanwhile. Otherwise it is refused.</param>
/// <param name="log">Receives progress.</param>
public sealed partial class SchemaUpgrade(Db db, Settings settings, bool patient, ILogger log)
{
    static readonly TimeSpan TryEvery = TimeSpan.FromMilliseconds(500);

    /// <summary>
    /// How long a process that is not patient waits for a Hub, which may be upgrading the schema itself, and for a
    /// command that does.
    /// </summary>
    static readonly TimeSpan HubMayTake = TimeSpan.FromSeconds(5), VerbMayTake = TimeSpan.FromMinutes(2);

    /// <summary>What it is waiting for, for status pages; null when it is not waiting.</summary>
    public string? Waiting { get; private set; }

    Migrator Migrator => new(db, log) { Settings = settings };

    /// <summary>
    /// Applies pending scripts; returns how many ran. A lost database is not recreated (<see cref="LostDatabase"/>).
    /// </summary>
    /// <param name="onWait">Called once, if it has to wait.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="ProblemException">Conflict: another Hub is active, or the database is newer. Otherwise the
    /// problem of <see cref="Migrator"/>.</exception>
    public async Task<int> RunAsync(Func<Task> onWait, CancellationToken cancel)
    {
        await using var seat = await AwaitSeatAsync(async () =>
            await KnownVersionAsync(cancel) >= Migrator.DesiredVersion, onWait, cancel);
        return await Migrator.MigrateAsync(cancel);
    }

    /// <summary>
    /// Migrates to any version, up or, if allowed, down; refused while a Hub is active, unless there is nothing to do.
    /// </summary>
    public async Task<int> ToAsync(int target, bool allowDowngrade, CancellationToken cancel)
    {
        await using var seat = await AwaitSeatAsync(async () => await VersionAsync(cancel) == target, () =>
            Task.CompletedTask, cancel);
        return await Migrator.MigrateAsync(target, allowDowngrade, cancel);
    }

    /// <summary>The seat's lock, or null when it is no longer needed.</summary>
    async Task<NpgsqlConnection?> AwaitSeatAsync(Func<Task<bool>> isDone, Func<Task> onWait, CancellationToken cancel)
    {
        if (await isDone()) return null;
        var seat = await OpenAsync(cancel);
        try
        {
            var clock = System.Diagnostics.Stopwatch.StartNew();
            while (!await SeatLock.TryAsync(seat, cancel))
            {
                if (await isDone())
                {
                    await seat.DisposeAsync();
                    return null;
                }
                var hub = await SeatLock.FindHubAsync(seat, cancel);
                if (!patient && clock.Elapsed > (hub is null ? VerbMayTake : HubMayTake))
                    throw new ProblemException(ProblemKind.Conflict,
                        (hub is null ? "The schema must be changed, and another process holds the migration lock. "
                            : $"The schema must be changed, and a Hub is active on the current one ({hub}). ")
                        + "Stop it first, or start the new Hub: it takes over when the old one stops.");
                if (Waiting is null)
                {
                    Log.Waits(log, hub ?? "another process");
                    Waiting = "waiting for leadership, to upgrade the schema";
                    await onWait();
                }
                await Task.Delay(TryEvery, cancel);
            }
            Waiting = null;
            return seat;
        }
        catch
        {
            await seat.DisposeAsync();
            throw;
        }
    }

    /// <summary>Refuses an empty database where it should not be empty.</summary>
    async Task<int> KnownVersionAsync(CancellationToken cancel)
    {
        var version = await VersionAsync(cancel);
        if (version == 0) LostDatabase.Refuse(settings);
        return version;
    }

    /// <summary>0 before the first migration.</summary>
    async Task<int> VersionAsync(CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return await connection.ExecuteScalarAsync<bool>(
            new CommandDefinition(ServerSql.SchemaTable, cancellationToken: cancel))
            ? await connection.QuerySingleOrDefaultAsync<int>(
                new CommandDefinition(ServerSql.SchemaVersion, cancellationToken: cancel)) : 0;
    }

    async Task<NpgsqlConnection> OpenAsync(CancellationToken cancel)
    {
        try
        {
            return await db.OpenAloneAsync(patient ? SeatSql.ConnectionName + Seat.ProcessName
                : "capsul upgrade", cancel);
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            throw new ProblemException(db.Explain(error), error);
        }
    }

    static partial class Log
    {
        [LoggerMessage(204, LogLevel.Warning,
            "The schema must be upgraded, and {Holder} is active on the current one; waiting until it stops, or has "
                + "upgraded it")]
        public static partial void Waits(ILogger log, string holder);
    }
}
