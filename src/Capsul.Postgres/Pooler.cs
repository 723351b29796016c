using Capsul.Foundation;
using Npgsql;

namespace Capsul.Postgres;

/// <summary>
/// Detects a pooler in transaction mode (PgBouncer's <c>pool_mode = transaction</c> or <c>statement</c>) between this
/// process and PostgreSQL. Through one, session locks and LISTEN do not work: two Hubs would both believe that they
/// hold the seat.
/// </summary>
public static class Pooler
{
    /// <summary>
    /// A pooler with several idle servers may pass by chance, hence several attempts; a direct connection always
    /// passes.
    /// </summary>
    const int Probes = 5;

    /// <summary>The problem, or null if sessions are preserved.</summary>
    public static async Task<Problem?> FindAsync(Db db, CancellationToken cancel)
    {
        await using var first = await db.OpenBareAsync("capsul probe", cancel);
        await using var second = await db.OpenBareAsync("capsul probe", cancel);
        // What the server itself calls the session, against what was said at the connection's start: they are one
        // without a pooler.
        var own = await PidAsync(first, cancel);
        var probes = first.ProcessID == own ? 1 : Probes;
        for (var probe = 0; probe < probes; probe++)
        {
            await using var transaction = await second.BeginTransactionAsync(cancel);
            // In session mode, and without a pooler, two open connections have two backends and keep them.
            if (await PidAsync(second, cancel) == own) return InTransactionMode();
            await transaction.CommitAsync(cancel);
            if (await PidAsync(first, cancel) != own) return InTransactionMode();
        }
        return null;
    }

    static Problem InTransactionMode() => new(ProblemKind.Invalid,
        "The database is reached through a pooler in transaction mode (such as PgBouncer with pool_mode = "
            + "transaction), where session locks and notifications do not work: point CAPSUL_DATABASE at PostgreSQL "
            + "itself, or set pool_mode = session.");

    static async Task<int> PidAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        await using var command = new NpgsqlCommand(PoolerSql.ServerPid, connection);
        return await command.ExecuteScalarAsync(cancel) is int pid ? pid
            : throw new InvalidOperationException("A session has no number.");
    }
}
