using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// The leader lease. Any number of Hub processes may run on one database; the one that holds a session advisory lock,
/// on a dedicated connection, is the active Hub and has an epoch, which increases every time the seat is acquired. The
/// others are on standby and try again every second. The active Hub proves every second that it is alive, by a
/// statement on that connection; one that has not for <see cref="Lease"/> no longer counts itself as active, and a
/// standby that sees no statement for longer than that (<see cref="SeatRivals"/>) ends the connection and takes over:
/// a machine without power, a cut network and a frozen process all look the same. What the old one still writes is
/// refused because of its epoch (<see cref="Fence"/>). A process whose program is older than the database's schema
/// remains on standby and logs why.
/// </summary>
public sealed partial class Seat(Db db, Settings settings, TimeProvider time, ILogger<Seat> log)
{
    /// <summary>How long one proof of being alive lasts.</summary>
    public static readonly TimeSpan Lease = TimeSpan.FromSeconds(5);

    static readonly TimeSpan TryEvery = TimeSpan.FromSeconds(1), PingLimit = TimeSpan.FromSeconds(3),
        RegisterEvery = TimeSpan.FromSeconds(10);

    readonly int schema = Migrator.DesiredVersion;
    readonly SeatRivals rivals = new(time);
    long epoch, confirmed, registered;

    /// <summary>The epoch while this process holds the seat and has lately proved it; 0 on standby.</summary>
    public long Epoch => time.GetElapsedTime(Interlocked.Read(ref confirmed)) < Lease ? Interlocked.Read(ref epoch) : 0;

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
        await using var connection = await OpenAsync(cancel);
        while (!await TryAsync(connection, cancel))
            await Task.Delay(TryEvery, cancel);
        var taken = await TakeAsync(connection, cancel);
        Confirm(time.GetTimestamp());
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

    /// <summary>Both ends of the connection notice within seconds when the other one is gone without a word.</summary>
    async Task<NpgsqlConnection> OpenAsync(CancellationToken cancel)
    {
        var connection = await db.OpenAloneAsync(SeatSql.ConnectionName + ProcessName, cancel, parts =>
        {
            parts.CommandTimeout = (int)PingLimit.TotalSeconds;
            // Not for a Unix socket: its other end is on this machine.
            if (parts.Host?.Contains('/', StringComparison.Ordinal) == true) return;
            parts.TcpKeepAlive = true;
            parts.TcpKeepAliveTime = parts.TcpKeepAliveInterval = 2;
        });
        await connection.ExecuteAsync(new CommandDefinition(SeatSql.KeepAlive, cancellationToken: cancel));
        registered = 0;
        return connection;
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
        if (unfit is not null) return false;
        await RegisterAsync(connection, cancel);
        if (await connection.ExecuteScalarAsync<bool>(new CommandDefinition(
            SeatSql.TryLockWithLease, new { key = SeatSql.LockKey, lease = SeatSql.LeaseKey },
            cancellationToken: cancel)))
            return true;
        if (await rivals.EndDeadAsync(connection, cancel) is { } dead) Log.Ended(log, dead);
        return false;
    }

    /// <summary>
    /// Raises the epoch while no transaction of background work is open. Those of the Hub before commit within moments,
    /// or belong to a process that is frozen or cut off: then their connections are ended.
    /// </summary>
    async Task<long> TakeAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        while (true)
        {
            try
            {
                await using var transaction = await connection.BeginTransactionAsync(cancel);
                await transaction.AskAsync<string>(SeatSql.FenceLimit, null, cancel);
                await transaction.AskAsync<string>(SeatSql.LockFence, new { key = SeatSql.FenceKey }, cancel);
                var taken = await transaction.AskAsync<long>(SeatSql.Take,
                    new { holder = ProcessName, linkAddress = settings.LinkAddress ?? "" }, cancel);
                await transaction.CommitAsync(cancel);
                return taken;
            }
            catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.LockNotAvailable)
            {
                await connection.QueryAsync<bool>(new CommandDefinition(
                    SeatSql.EndFenced, new { key = SeatSql.FenceKey }, cancellationToken: cancel));
            }
        }
    }

    /// <summary>
    /// Returns or throws as soon as the seat is lost or the work has ended. A broken connection is noticed immediately.
    /// </summary>
    async Task WatchAsync(NpgsqlConnection connection, long taken, Task acting, CancellationToken cancel)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var ends = acting.ContinueWith(_ => ended.CancelAsync(), CancellationToken.None,
            TaskContinuationOptions.None, TaskScheduler.Default).Unwrap();
        try
        {
            while (!acting.IsCompleted)
            {
                await connection.WaitAsync(TryEvery, ended.Token);
                // The lease counts from before the statement was sent: the server saw it later than that.
                var asked = time.GetTimestamp();
                var now = await connection.ExecuteScalarAsync<long>(
                    new CommandDefinition(SeatSql.Ping, cancellationToken: cancel)).WaitAsync(PingLimit, cancel);
                if (now != taken) return;
                Confirm(asked);
                await RegisterAsync(connection, cancel);
            }
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            await ends;
        }
    }

    void Confirm(long at) => Interlocked.Exchange(ref confirmed, at);

    /// <summary>Spokes learn from this where the Hubs are.</summary>
    async Task RegisterAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        if (registered != 0 && time.GetElapsedTime(registered) < RegisterEvery) return;
        await connection.ExecuteAsync(new CommandDefinition(SeatSql.Register,
            new { name = ProcessName, linkAddress = settings.LinkAddress ?? "" }, cancellationToken: cancel));
        registered = time.GetTimestamp();
    }

    static partial class Log
    {
        [LoggerMessage(200, LogLevel.Information, "This process is the active Hub (epoch {Epoch})")]
        public static partial void Taken(ILogger log, long epoch);

        [LoggerMessage(201, LogLevel.Warning, "Leadership was lost: {Why}")]
        public static partial void Lost(ILogger log, string why);

        [LoggerMessage(202, LogLevel.Error, "Background work of the active Hub failed")]
        public static partial void Failed(ILogger log, Exception error);

        [LoggerMessage(206, LogLevel.Warning,
            "The active Hub ({Name}) was silent for too long; its connection was ended")]
        public static partial void Ended(ILogger log, string name);

        [LoggerMessage(203, LogLevel.Error, "This process remains on standby: {Why}")]
        public static partial void Unfit(ILogger log, string why);
    }
}
