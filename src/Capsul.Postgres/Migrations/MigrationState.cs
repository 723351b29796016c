using Capsul.Foundation;
using Dapper;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>The database's migration state, read in one round trip.</summary>
/// <param name="Version">The one row of schemaversion.</param>
/// <param name="Unfinished">Statements of an unfinished script; empty if there is none.</param>
sealed record MigrationState(int Version, IReadOnlyList<ScriptSeal> Seals, IReadOnlyList<RecordedStatement> Unfinished)
{
    /// <summary>Null: there is no schemaversion table, or not yet the migrator's tables.</summary>
    public static async Task<MigrationState?> ReadAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        try
        {
            var command = new CommandDefinition(
                $"{ServerSql.SchemaVersion};\n{MigratorSql.Seals};\n{MigratorSql.Unfinished}",
                cancellationToken: cancel);
            await using var rows = await connection.QueryMultipleAsync(command);
            var versions = (await rows.ReadAsync<int>()).AsList();
            var seals = (await rows.ReadAsync<ScriptSeal>()).AsList();
            var unfinished = (await rows.ReadAsync<RecordedStatement>()).AsList();
            return new MigrationState(One(versions), seals, unfinished);
        }
        catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.UndefinedTable)
        {
            return null;
        }
    }

    /// <summary>
    /// Whether the database is at <paramref name="target"/> with exactly these scripts: the only query of most starts.
    /// </summary>
    public static async Task<bool> IsSettledAsync(
        NpgsqlConnection connection, MigrationScripts scripts, int target, CancellationToken cancel)
    {
        if (scripts.Identity is null) return false;
        try
        {
            return (await connection.QueryAsync<SchemaSummary>(
                new CommandDefinition(MigratorSql.Summary, cancellationToken: cancel))).AsList() is [var summary]
                && summary.Version == target && summary.ComparedWith == scripts.Identity && !summary.Unfinished;
        }
        catch (PostgresException error) when (error.SqlState is PostgresErrorCodes.UndefinedTable)
        {
            return false;
        }
    }

    /// <exception cref="ProblemException">Conflict: no row, or several.</exception>
    public static int One(IReadOnlyList<int> versions) => versions is [var version]
        ? version : throw new ProblemException(ProblemKind.Conflict,
        $"Table schemaversion must have exactly one row; it has {versions.Count}. Nothing was changed.");

    /// <exception cref="ProblemException">Conflict: newer than <paramref name="scripts"/>, or being upgraded by a newer
    /// program.</exception>
    public void RefuseNewer(MigrationScripts scripts)
    {
        if (Version > scripts.Newest)
            throw new ProblemException(ProblemKind.Conflict,
                $"The database is at schema version {Version}, newer than this program, which knows up to "
                    + $"{scripts.Newest}. Use the newer program; nothing was changed.");
        if (Unfinished.FirstOrDefault(s => s.Version > scripts.Newest) is { } newer)
            throw new ProblemException(ProblemKind.Conflict,
                $"A newer program was interrupted while upgrading to schema version {newer.Version}; this one knows "
                    + $"up to {scripts.Newest}. Use the newer program; nothing was changed.");
    }

    /// <summary>
    /// Scripts whose bytes differ from those that were applied, and whether only comments, whitespace or line ends
    /// differ. Cheap if none differs: tokens are compared only if the bytes differ.
    /// </summary>
    public IReadOnlyList<(Migration Script, bool SameTokens)> Differing(MigrationScripts scripts) =>
    [
        .. from seal in Seals
           where seal.Version <= Math.Min(Version, scripts.Newest)
           let script = scripts.Up(seal.Version)
           where script.RawChecksum() != seal.RawChecksum
           select (script, script.Checksum() == seal.Checksum),
    ];

    /// <exception cref="ProblemException">Conflict: an applied script was changed.</exception>
    public static void RefuseEdited(IReadOnlyList<(Migration Script, bool SameTokens)> differing)
    {
        var edited = differing.Where(d => !d.SameTokens).Select(d => d.Script).ToList();
        if (edited.Count > 0)
            throw new ProblemException(ProblemKind.Conflict,
                $"{string.Join(", ", edited.Select(s => s.Name))} {(edited.Count == 1 ? "is" : "are")} "
                + "no longer what was "
                + "applied to this database. Scripts are never edited: restore the original and add a new version. "
                + "See capsul db status, and capsul db baseline if the schema is correct.");
    }
}
