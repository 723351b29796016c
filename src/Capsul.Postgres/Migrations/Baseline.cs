using Capsul.Foundation;
using Microsoft.Extensions.Logging;

namespace Capsul.Postgres.Migrations;

/// <summary>
/// Records that a database is at a version whose schema it has: one that was restored manually, or whose applied
/// scripts differ from the program's although the schema is correct.
/// </summary>
public sealed class Baseline(Db db, ILogger log)
{
    public MigrationRules Rules { get; init; } = MigrationRules.Default;

    /// <summary>
    /// Records <paramref name="version"/> with the current scripts; returns the differences that were ignored because
    /// of <paramref name="force"/>.
    /// </summary>
    /// <exception cref="ProblemException">Conflict: the schema is not that of the version, or the database is at
    /// another. Invalid: no such version.</exception>
    public async Task<IReadOnlyList<Drift>> TakeAsync(int version, bool force, CancellationToken cancel)
    {
        if (version < 1 || version > Rules.Scripts.Newest)
            throw new ProblemException(ProblemKind.Invalid,
                $"There is no schema version {version}; this program knows 1 to {Rules.Scripts.Newest}.");
        var has = await SchemaCheck.VersionAsync(db, cancel);
        if (has is > 0 && has != version && !force)
            throw new ProblemException(ProblemKind.Conflict,
                $"The database says that it is at schema version {has}. Migrate it with capsul db migrate, or set "
                + $"it to {version} with --force.");
        // The migrator's own tables may be missing; they are created below.
        var drift = (await SchemaCheck.CompareAsync(db, Rules.Scripts, version, cancel))
            .Where(d => !IsRecord(d.Name)).ToList();
        if (drift.Count > 0 && !force)
            throw new ProblemException(ProblemKind.Conflict,
                $"The schema is not that of version {version}: {drift.Count} "
                + $"difference{(drift.Count == 1 ? "" : "s")}, such as "
                + $"{drift[0].What} {drift[0].Kind} {drift[0].Name}. "
                + "Nothing was recorded; --force records it anyway.");
        await RecordAsync(version, cancel);
        return drift;
    }

    static bool IsRecord(string name) => name is "public.schemaversion"
        or "public.schema_scripts" or "public.schema_statements"
        || name.StartsWith("public.schemaversion.", StringComparison.Ordinal)
            || name.StartsWith("public.schema_scripts", StringComparison.Ordinal)
        || name.StartsWith("public.schema_statements", StringComparison.Ordinal);

    Task<bool> RecordAsync(int version, CancellationToken cancel) => Migrator.ExplainedAsync(db, async () =>
    {
        await using var session = await MigrationSession.OpenAsync(db, Rules, log, cancel);
        await session.LockAsync(cancel);
        var state = await session.StateAsync(cancel);
        await session.InTransactionAsync(async _ =>
        {
            await session.ExecuteAsync(MigrationSession.Make(MigratorSql.SetVersion,
                ("version", version), ("from", state.Version)), cancel);
            await session.ExecuteAsync(MigrationSession.Make(MigratorSql.ForgetScriptsAbove, ("version", version)),
                cancel);
            for (var n = 1; n <= version; n++)
                await session.ExecuteAsync(session.RecordOf(Rules.Scripts.Up(n), "baseline", ran: false), cancel);
        }, cancel);
        return true;
    });
}
