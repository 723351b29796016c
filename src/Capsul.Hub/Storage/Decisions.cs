using System.Data;
using Capsul.Foundation;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Storage;

public static class Decisions
{
    /// <summary>
    /// Runs <paramref name="work"/> in one transaction; commits when it returns, rolls back when it throws or returns a
    /// problem. A serialization failure or deadlock is tried again, three times in all, so <paramref name="work"/> must
    /// touch PostgreSQL only.
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
                // Deadlock or serialization: nothing was committed; go again.
            }
            catch (ProblemException error)
            {
                // Rolled back with the transaction; for refusals that are only found half way.
                return error.Problem;
            }
            catch (PostgresException error) when (Constraints.Explain(error) is { } problem)
            {
                return problem;
            }
        }
    }
}
