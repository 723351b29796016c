using System.Security.Cryptography;
using Capsul.Foundation;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>
/// The right to migrate: a session advisory lock on a dedicated connection, which is idle and not in a transaction,
/// because <c>CREATE INDEX CONCURRENTLY</c> waits for all transactions. For the same reason it is polled, never waited
/// for inside the server. It is released when the process dies. A second lock is on the connection that does the work:
/// the server may continue a statement for a moment after its client was killed, and until then no other process may
/// begin.
/// </summary>
sealed partial class MigrationLock : IAsyncDisposable
{
    const int TryEveryMs = 100;

    readonly NpgsqlConnection connection;

    MigrationLock(NpgsqlConnection connection) => this.connection = connection;

    /// <param name="work">The connection that will do the work.</param>
    /// <param name="wait">How long to wait for another process.</param>
    /// <exception cref="ProblemException">Unavailable: another process holds it for longer; the message says
    /// which.</exception>
    public static async Task<MigrationLock> TakeAsync(
        Db db, NpgsqlConnection work, TimeSpan wait, ILogger log, TimeProvider time, CancellationToken cancel)
    {
        var connection = await db.OpenAloneAsync("capsul migrations lock", cancel);
        try
        {
            var began = time.GetTimestamp();
            await TryAsync(connection, MigratorSql.LockKey, connection);
            await TryAsync(work, MigratorSql.WorkKey, connection);
            return new MigrationLock(connection);

            async Task TryAsync(NpgsqlConnection on, long key, NpgsqlConnection asks)
            {
                string? told = null;
                while (!await on.ExecuteScalarAsync<bool>(
                    new CommandDefinition(MigratorSql.TryLock, new { key }, cancellationToken: cancel)))
                {
                    var holder = await asks.ExecuteScalarAsync<string?>(
                        new CommandDefinition(MigratorSql.Holder, new { key }, cancellationToken: cancel));
                    if (time.GetElapsedTime(began) >= wait)
                        throw new ProblemException(ProblemKind.Unavailable,
                            "Another process is migrating the database, and did not finish within "
                            + $"{wait.TotalSeconds:0} s: "
                            + $"{holder ?? "it has just finished; try again"}.");
                    if (holder is not null && holder != told) Log.Waiting(log, told = holder);
                    await Task.Delay(TimeSpan.FromMilliseconds(
                        RandomNumberGenerator.GetInt32(TryEveryMs / 2, TryEveryMs * 2)), time, cancel);
                }
            }
        }
        catch
        {
            await connection.DisposeAsync();
            throw;
        }
    }

    /// <summary>
    /// The sessions that block session <paramref name="pid"/>. Fails if the lock's connection is lost, and with it the
    /// lock.
    /// </summary>
    public async Task<IReadOnlyList<BlockingSession>> BlockingAsync(int pid, CancellationToken cancel) =>
        [.. await connection.QueryAsync<BlockingSession>(
            new CommandDefinition(MigratorSql.Blocking, new { pid }, cancellationToken: cancel))];

    public ValueTask DisposeAsync() => connection.DisposeAsync();

    static partial class Log
    {
        [LoggerMessage(111, LogLevel.Information, "Waiting for migrations by {Holder}")]
        public static partial void Waiting(ILogger log, string holder);
    }
}
