using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>
/// Hooks of the database's owner in the transactions in which a backup writes its row: check that it may still write,
/// and notify people of the result. By default nothing.
/// </summary>
public sealed record BackupWatch
{
    /// <summary>Called first in every such transaction.</summary>
    /// <exception cref="FencedException">Another process has taken over: nothing more is written.</exception>
    public Func<NpgsqlTransaction, CancellationToken, Task> Fence { get; init; } = (_, _) => Task.CompletedTask;

    /// <summary>The backup failed; the message says why.</summary>
    public Func<NpgsqlTransaction, string, CancellationToken, Task> Failed { get; init; } = (_, _, _) =>
        Task.CompletedTask;

    /// <summary>The backup is complete and verified.</summary>
    public Func<NpgsqlTransaction, CancellationToken, Task> Succeeded { get; init; } = (_, _) => Task.CompletedTask;
}
