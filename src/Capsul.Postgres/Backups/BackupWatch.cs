using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>
/// What the owner of a database does in the transactions in which a backup writes its row: make sure that it may still
/// write, and tell people how it went. By default nothing.
/// </summary>
public sealed record BackupWatch
{
    /// <summary>First in every such transaction.</summary>
    /// <exception cref="FencedException">Another process has taken over: nothing more is written.</exception>
    public Func<NpgsqlTransaction, CancellationToken, Task> Fence { get; init; } = (_, _) => Task.CompletedTask;

    /// <summary>It failed; the sentence says why.</summary>
    public Func<NpgsqlTransaction, string, CancellationToken, Task> Failed { get; init; } = (_, _, _) =>
        Task.CompletedTask;

    /// <summary>It is complete and verified.</summary>
    public Func<NpgsqlTransaction, CancellationToken, Task> Succeeded { get; init; } = (_, _) => Task.CompletedTask;
}
