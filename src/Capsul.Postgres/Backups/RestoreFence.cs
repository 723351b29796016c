using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>Excludes everybody else from a database while it is restored, and prepares the restored one.</summary>
/// <param name="TakeAsync">Acquires the lock, on a connection that is closed when the restore has ended; throws if
/// somebody else holds it.</param>
/// <param name="Afterwards">A statement to run in every restored database, in the transaction of the restore; null:
/// none.</param>
public sealed record RestoreFence(Func<Db, CancellationToken, Task<NpgsqlConnection>> TakeAsync, string? Afterwards);
