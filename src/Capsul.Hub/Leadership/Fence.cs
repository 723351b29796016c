using System.Data;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Leadership;

/// <summary>
/// Transactions of background work. Each begins by checking the epoch: if another process has acquired the seat,
/// nothing is written. What it changed is announced after the commit, inside this process at once and to the others
/// shortly after (<see cref="Listener"/>), because PostgreSQL lets only one transaction with NOTIFY commit at a time.
/// </summary>
public sealed class Fence(Db db, Listener listener)
{
    /// <summary>Runs <paramref name="work"/> in one fenced transaction and commits.</summary>
    /// <exception cref="SeatLostException">The epoch is no longer in force.</exception>
    public async Task<T> InTransactionAsync<T>(
        long epoch, Func<NpgsqlTransaction, Task<T>> work, CancellationToken cancel)
    {
        await using var connection = await db.OpenAsync(cancel);
        await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.ReadCommitted, cancel);
        if (!await transaction.AskAsync<bool>(SeatSql.HoldQuietly, new { epoch }, cancel))
            throw new SeatLostException(epoch);
        var value = await work(transaction);
        listener.Announce(await CommitAsync(transaction, cancel));
        return value;
    }

    /// <summary>Commits, and reads in the same round trip what has been collected.</summary>
    static async Task<string> CommitAsync(NpgsqlTransaction transaction, CancellationToken cancel)
    {
        await using var batch = new NpgsqlBatch(transaction.Connection, transaction)
        {
            BatchCommands = { new NpgsqlBatchCommand(SeatSql.Collected), new NpgsqlBatchCommand(SeatSql.Commit) },
        };
        await using var reader = await batch.ExecuteReaderAsync(cancel);
        await reader.ReadAsync(cancel);
        var changes = reader.GetString(0);
        while (await reader.NextResultAsync(cancel)) { }
        return changes;
    }

    /// <summary>Runs one statement in a fenced transaction of its own; returns the number of rows.</summary>
    /// <exception cref="SeatLostException">The epoch is no longer in force.</exception>
    public Task<int> ExecuteAsync(long epoch, string sql, object parameters, CancellationToken cancel) =>
        InTransactionAsync(epoch, transaction => transaction.ExecuteAsync(sql, parameters, cancel), cancel);
}
