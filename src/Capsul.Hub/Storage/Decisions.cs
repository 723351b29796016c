using System.Data;
using Capsul.Foundation;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Storage;

public static class Decisions
{
    /// <summary>
    /// Runs <paramref name="work"/> in one transaction; commits when it returns, rolls back when it throws or returns a
    /// problem. A serialization failure or deadlock is retried, for three attempts in all, so <paramref name="work"/>
    /// must only touch PostgreSQL.
    /// </summary>
    public static async Task<Outcome<T>> DecideAsync<T>(
        this Db db, Func<NpgsqlTransaction, Task<Outcome<T>>> work, CancellationToken cancel)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await using var connection = await db.OpenAsync(cancel);
                await using var transaction = await connection.BeginTransactionAsync(IsolationLevel.ReadCommitted,
                    cancel);
                var outcome = await work(transaction);
                if (outcome.Problem is null)
                    await transaction.CommitAsync(cancel);
                return outcome;
            }
            catch (PostgresException error) when (error.IsTransient && attempt < 3)
            {
                // Deadlock or serialization failure: nothing was committed; retry.
            }
            catch (ProblemException error)
            {
                // For refusals that are only found half way; the transaction is rolled back.
                return error.Problem;
            }
            catch (PostgresException error) when (Constraints.Explain(error) is { } problem)
            {
                return problem;
            }
        }
    }
}
