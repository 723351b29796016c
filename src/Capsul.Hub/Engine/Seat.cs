using Capsul.Hub.Database;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Engine;

/// <summary>
/// The right to act as the Hub. Any number of Hub processes may run on one database; the one that holds a session advisory lock, on
/// a connection of its own, is the acting Hub and has an epoch, which grows with every taking. The others stand by and try again
/// each second. Losing that connection means losing the seat at once: the work is cancelled, and what it still tries to write is
/// refused by its old epoch (<see cref="SeatSql.Hold"/>).
/// </summary>
public sealed partial class Seat(Db db, ILogger<Seat> log)
{
    static readonly TimeSpan TryEvery = TimeSpan.FromSeconds(1);
    static readonly TimeSpan PingLimit = TimeSpan.FromSeconds(3);
    long epoch;

    /// <summary>The epoch while this process holds the seat; 0 while it stands by.</summary>
    public long Epoch => Interlocked.Read(ref epoch);

    public bool Held => Epoch != 0;

    /// <summary>Tries for the seat until cancelled, and runs <paramref name="act"/> with the epoch whenever it is held.</summary>
    public async Task RunAsync(Func<long, CancellationToken, Task> act, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                await TakeAsync(act, cancel);
            }
            catch (Exception error) when (error is NpgsqlException or TimeoutException or IOException && !cancel.IsCancellationRequested)
            {
                Log.Lost(log, error.Message);
            }
            finally
            {
                Interlocked.Exchange(ref epoch, 0);
            }
            await Task.Delay(TryEvery, cancel);
        }
    }

    async Task TakeAsync(Func<long, CancellationToken, Task> act, CancellationToken cancel)
    {
        await using var connection = await db.OpenAloneAsync("capsul seat", cancel, parts => parts.CommandTimeout = 3);
        if (!await connection.ExecuteScalarAsync<bool>(new CommandDefinition(SeatSql.TryLock, new { key = SeatSql.LockKey }, cancellationToken: cancel)))
            return;
        var taken = await connection.ExecuteScalarAsync<long>(new CommandDefinition(
            SeatSql.Take, new { holder = $"{Environment.MachineName} pid {Environment.ProcessId}" }, cancellationToken: cancel));
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

    /// <summary>Returns or throws as soon as the seat is no longer ours, or the work has ended.</summary>
    static async Task WatchAsync(NpgsqlConnection connection, long taken, Task acting, CancellationToken cancel)
    {
        while (!acting.IsCompleted)
        {
            await Task.WhenAny(acting, Task.Delay(TryEvery, cancel));
            cancel.ThrowIfCancellationRequested();
            var now = await connection.ExecuteScalarAsync<long>(new CommandDefinition(SeatSql.Ping, cancellationToken: cancel)).WaitAsync(PingLimit, cancel);
            if (now != taken) return;
        }
    }

    static partial class Log
    {
        [LoggerMessage(200, LogLevel.Information, "This process is the acting Hub (epoch {Epoch})")]
        public static partial void Taken(ILogger log, long epoch);

        [LoggerMessage(201, LogLevel.Warning, "The seat was lost: {Why}")]
        public static partial void Lost(ILogger log, string why);

        [LoggerMessage(202, LogLevel.Error, "Work of the acting Hub ended with an error")]
        public static partial void Failed(ILogger log, Exception error);
    }
}
