using Capsul.Foundation;
using Capsul.Hub.Database;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Engine;

/// <summary>
/// Migrations run under the seat: the schema never changes below a Hub that acts. A process that finds scripts to apply takes the
/// seat's lock for as long as they run; while another Hub acts it waits, or is told to. When there is nothing to apply nobody waits.
/// </summary>
/// <param name="patient">A Hub that starts: waits while another Hub acts, and is listed as standby meanwhile. Else that is refused.</param>
public sealed partial class SchemaUpgrade(Db db, bool patient, ILogger log)
{
    static readonly TimeSpan TryEvery = TimeSpan.FromSeconds(1);

    /// <summary>What it waits for, for whoever asks meanwhile; null when it does not wait.</summary>
    public string? Waiting { get; private set; }

    /// <summary>Applies what is missing; gives how many scripts ran.</summary>
    /// <param name="onWait">Called once, when it has to wait.</param>
    /// <exception cref="ProblemException">Conflict: another Hub acts, or the database is newer. Else what <see cref="Migrator"/> says.</exception>
    public async Task<int> RunAsync(Func<Task> onWait, CancellationToken cancel)
    {
        var migrator = new Migrator(db, log);
        if (!await IsPendingAsync(cancel)) return await migrator.MigrateAsync(cancel);
        await using var seat = await OpenAsync(cancel);
        while (!await seat.ExecuteScalarAsync<bool>(new CommandDefinition(SeatSql.TryLock, new { key = SeatSql.LockKey }, cancellationToken: cancel)))
        {
            if (!await IsPendingAsync(cancel)) break;
            var holder = await HolderAsync(seat, cancel);
            if (!patient)
                throw new ProblemException(ProblemKind.Conflict,
                    $"The database needs a newer schema, and a Hub acts on the present one ({holder}). Stop that Hub first, or start the new one: it takes over when the old one stops.");
            if (Waiting is null)
            {
                Log.Waits(log, holder);
                Waiting = $"waits for the seat, to upgrade the schema; {holder} acts";
                await onWait();
            }
            await Task.Delay(TryEvery, cancel);
        }
        Waiting = null;
        return await migrator.MigrateAsync(cancel);
    }

    async Task<bool> IsPendingAsync(CancellationToken cancel)
    {
        await using var connection = await OpenAsync(cancel);
        return !await connection.ExecuteScalarAsync<bool>(new CommandDefinition(MigratorSql.TableExists, cancellationToken: cancel))
            || await connection.QuerySingleOrDefaultAsync<int>(new CommandDefinition(MigratorSql.Version, cancellationToken: cancel)) < Migrator.DesiredVersion;
    }

    /// <summary>By the lock itself, because the table of the seat may not be there yet.</summary>
    static async Task<string> HolderAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var hubs = await connection.QueryAsync<HubRow>(new CommandDefinition(SeatSql.Hubs, new { key = SeatSql.LockKey }, cancellationToken: cancel));
        return hubs.FirstOrDefault(h => h.Acting)?.Name ?? "another process";
    }

    async Task<NpgsqlConnection> OpenAsync(CancellationToken cancel)
    {
        try
        {
            return await db.OpenAloneAsync(patient ? SeatSql.ConnectionName + Seat.ProcessName : "capsul upgrade", cancel);
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            throw new ProblemException(db.Explain(error), error);
        }
    }

    static partial class Log
    {
        [LoggerMessage(204, LogLevel.Warning, "The schema must be upgraded, and {Holder} acts on the present one; waiting until it stops")]
        public static partial void Waits(ILogger log, string holder);
    }
}
