using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>
/// What keeps everybody else from working on a database while it is restored, and what a restored one needs before they
/// may again.
/// </summary>
/// <param name="TakeAsync">Takes the lock, on a connection that is closed when the restore has ended; throws when
/// somebody is at work.</param>
/// <param name="Afterwards">A statement that belongs to every restored database, in the transaction of the restore;
/// null: none.</param>
public sealed record RestoreFence(Func<Db, CancellationToken, Task<NpgsqlConnection>> TakeAsync, string? Afterwards);
