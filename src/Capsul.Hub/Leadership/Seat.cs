using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// The right to act as the Hub. Any number of Hub processes may run on one database; the one that holds a session
/// advisory lock, on a connection of its own, is the acting Hub and has an epoch, which grows with every taking. The
/// others stand by and try again each second. Losing that connection means losing the seat at once: the work is
/// cancelled, and what it still tries to write is refused by its old epoch (<see cref="SeatSql.HoldSeatAsync"/>). A
/// process whose program is older than the database's schema stands by for ever and says so.
/// </summary>
public sealed partial class Seat(Db db, ILogger<Seat> log)
{
    static readonly TimeSpan TryEvery = TimeSpan.FromSeconds(1);
    static readonly TimeSpan PingLimit = TimeSpan.FromSeconds(3);

    readonly int schema = Migrator.DesiredVersion;
    long epoch;

    /// <summary>The epoch while this process holds the seat; 0 while it stands by.</summary>
    public long Epoch => Interlocked.Read(ref epoch);

    public bool Held => Epoch != 0;

    /// <summary>Why this process cannot take the seat even when it is free; null when it can.</summary>
    public string? Unfit { get; private set; }

    /// <summary>
    /// How a process is known: by its machine and process id. In <c>seat.holder</c> and in the server's list of
    /// connections.
    /// </summary>
    public static string ProcessName => $"{Environment.MachineName} pid {Environment.ProcessId}";

    /// <summary>
    /// Tries for the seat until cancelled, and runs <paramref name="act"/> with the epoch whenever it is held.
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
                // A bug; a process that only looked like a standby from here on would be worse than one that tries
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
    /// One connection for as long as it lasts: first as standby, then, if the seat becomes free, as the acting Hub.
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
    /// Returns or throws as soon as the seat is no longer ours, or the work has ended. A connection that breaks is
    /// noticed when it breaks.
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
        [LoggerMessage(200, LogLevel.Information, "This process is the acting Hub (epoch {Epoch})")]
        public static partial void Taken(ILogger log, long epoch);

        [LoggerMessage(201, LogLevel.Warning, "Leadership was lost: {Why}")]
        public static partial void Lost(ILogger log, string why);

        [LoggerMessage(202, LogLevel.Error, "Background work of the active Hub failed")]
        public static partial void Failed(ILogger log, Exception error);

        [LoggerMessage(203, LogLevel.Error, "This process remains on standby: {Why}")]
        public static partial void Unfit(ILogger log, string why);
    }
}
