using Dapper;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Postgres.Migrations;

/// <summary>A version, and its state in the database and the program.</summary>
/// <param name="State">applied, pending, interrupted, edited (its script is not what was applied), unknown (the program
/// has no script).</param>
public sealed record StatusLine(int Version, string Script, string State, AppliedScript? Applied);

/// <summary>The versions of the database. Read-only.</summary>
public sealed record SchemaStatus(int Version, int Wanted, IReadOnlyList<StatusLine> Lines)
{
    public static Task<SchemaStatus> ReadAsync(Db db, MigrationScripts scripts, CancellationToken cancel) =>
        Migrator.ExplainedAsync(db, async () =>
    {
        await using var session = await MigrationSession.OpenAsync(db,
            new MigrationRules { Scripts = scripts }, NullLogger.Instance, cancel);
        var state = await session.PeekAsync(cancel);
        var applied = state.Seals.Count == 0 ? []
            : (await session.Work.QueryAsync<AppliedScript>(
            new CommandDefinition(MigratorSql.ListApplied, cancellationToken: cancel))).AsList();
        var lines = Enumerable.Range(1, Math.Max(scripts.Newest,
            Math.Max(state.Version, state.Unfinished.Select(s => s.Version).DefaultIfEmpty(0).Max())))
            .Select(version => Line(scripts, state, version, applied.Find(a => a.Version == version)));
        return new SchemaStatus(state.Version, scripts.Newest, [.. lines]);
    });

    static StatusLine Line(MigrationScripts scripts, MigrationState state, int version, AppliedScript? applied)
    {
        var script = version <= scripts.Newest ? scripts.Up(version) : null;
        var how = state.Unfinished.Any(s => s.Version == version) ? "interrupted"
            : version > state.Version ? "pending"
            : script is null ? "unknown"
            : applied is null || IsSame(scripts, script, applied) ? "applied" : "edited";
        return new StatusLine(version, script?.Name ?? applied?.Name ?? "", how, version <= state.Version
            ? applied : null);
    }

    static bool IsSame(MigrationScripts scripts, Migration script, AppliedScript applied) =>
        (script.RawChecksum() == applied.RawChecksum || script.Checksum() == applied.Checksum)
        && (applied.DownChecksum is null || scripts.Down(script.Version) is { } down
            && down.Checksum() == applied.DownChecksum);
}
