using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// The leader lease. Any number of Hub processes may run on one database; the one that holds a session advisory lock,
/// on a dedicated connection, is the active Hub and has an epoch, which increases every time the seat is acquired. The
/// others are on standby and try again every second. Losing that connection means losing the seat immediately: the work
/// is canceled, and further writes are refused because of the old epoch (<see cref="SeatSql.HoldSeatAsync"/>). A
/// process whose program is older than the database's schema remains on standby and logs why.
/// </summary>
public sealed partial class Seat(Db db, ILogger<Seat> log)
{
    static readonly TimeSpan TryEvery = TimeSpan.FromSeconds(1);
    static readonly TimeSpan PingLimit = TimeSpan.FromSeconds(3);

    readonly int schema = Migrator.DesiredVersion;
    long epoch;

    /// <summary>The epoch while this process holds the seat; 0 on standby.</summary>
    public long Epoch => Interlocked.Read(ref epoch);

    public bool Held => Epoch != 0;

    /// <summary>Why this process cannot acquire the seat even if it is free; null if it can.</summary>
    public string? Unfit { get; private set; }

    /// <summary>
    /// Identifies a process by machine and process ID, in <c>seat.holder</c> and in the server's list of connections.
    /// </summary>
    public static string ProcessName => $"{Environment.MachineName} pid {Environment.ProcessId}";

    /// <summary>
    /// Tries to acquire the seat until canceled, and runs <paramref name="act"/> with the epoch while it is held.
    /// </summary>
    public async Task RunAsync(Func<long, CancellationToken, Task> act, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                await StandByAsync(act, cancel);
            }
            catch (Exception error) when (error is NpgsqlException or TimeoutException or IOException)
            {
                if (!cancel.IsCancellationRequested) Log.Lost(log, error.Message);
            }
            catch (Exception error) when (!cancel.IsCancellationRequested)
            {
                // A bug; a process that only pretends to be a standby from here on would be worse than one that tries
                // again.
                Log.Failed(log, error);
            }
            finally
            {
                Interlocked.Exchange(ref epoch, 0);
            }
            await Task.Delay(TryEvery, cancel);
        }
    }

    /// <summary>
    /// Uses one connection until it breaks: first as standby, then, if the seat becomes free, as the active Hub.
    /// </summary>
    async Task StandByAsync(Func<long, CancellationToken, Task> act, CancellationToken cancel)
    {
        await using var connection = await db.OpenAloneAsync(SeatSql.ConnectionName + ProcessName, cancel, parts =>
            parts.CommandTimeout = 3);
        while (!await TryAsync(connection, cancel))
            await Task.Delay(TryEvery, cancel);
        var taken = await connection.ExecuteScalarAsync<long>(
            new CommandDefinition(SeatSql.Take, new { holder = ProcessName }, cancellationToken: cancel));
        Interlocked.Exchange(ref epoch, taken);
        Log.Taken(log, taken);
        using var held = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var acting = act(taken, held.Token);
        try
        {
            await WatchAsync(connection, taken, acting, cancel);
        }
        finally
        {
            Interlocked.Exchange(ref epoch, 0);
            await held.CancelAsync();
            await acting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (acting.IsFaulted && !cancel.IsCancellationRequested) Log.Failed(log, acting.Exception!);
        }
    }

    async Task<bool> TryAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var version = await connection.QuerySingleAsync<int>(
            new CommandDefinition(ServerSql.SchemaVersion, cancellationToken: cancel));
        var unfit = version != schema ? $"the database is at schema version {version}, and this program needs {schema}"
            : await connection.ExecuteScalarAsync<bool>(
                new CommandDefinition(SeatSql.IsReadOnly, cancellationToken: cancel))
                ? "the database is read-only: a standby server, or default_transaction_read_only"
                : null;
        if (unfit is not null && unfit != Unfit) Log.Unfit(log, unfit);
        Unfit = unfit;
        return unfit is null
            && await connection.ExecuteScalarAsync<bool>(
            new CommandDefinition(SeatSql.TryLock, new { key = SeatSql.LockKey }, cancellationToken: cancel));
    }

    /// <summary>
    /// Returns or throws as soon as the seat is lost or the work has ended. A broken connection is noticed immediately.
    /// </summary>
    static async Task WatchAsync(NpgsqlConnection connection, long taken, Task acting, CancellationToken cancel)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var ends = acting.ContinueWith(_ => ended.CancelAsync(), CancellationToken.None,
            TaskContinuationOptions.None, TaskScheduler.Default).Unwrap();
        try
        {
            while (!acting.IsCompleted)
            {
                await connection.WaitAsync(TryEvery, ended.Token);
                var now = await connection.ExecuteScalarAsync<long>(
                    new CommandDefinition(SeatSql.Ping, cancellationToken: cancel)).WaitAsync(PingLimit, cancel);
                if (now != taken) return;
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            await ends;
        }
    }

    static partial class Log
    {
        [LoggerMessage(200, LogLevel.Information, "This process is the active Hub (epoch {Epoch})")]
        public static partial void Taken(ILogger log, long epoch);

        [LoggerMessage(201, LogLevel.Warning, "Leadership was lost: {Why}")]
        public static partial void Lost(ILogger log, string why);

        [LoggerMessage(202, LogLevel.Error, "Background work of the active Hub failed")]
        public static partial void Failed(ILogger log, Exception error);

        [LoggerMessage(203, LogLevel.Error, "This process remains on standby: {Why}")]
        public static partial void Unfit(ILogger log, string why);
    }
}
