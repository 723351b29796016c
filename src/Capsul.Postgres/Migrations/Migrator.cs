using System.Text;
using Capsul.Foundation;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>
/// Brings the database to this program's version. Table <c>schemaversion</c> has one row and one column,
/// <c>version</c>; scripts run one by one until it is equal, each in one transaction with its new version, or, if its
/// first line says so, statement by statement with each outcome recorded (<see cref="Stepwise"/>). A database that is
/// newer than the program, or whose applied scripts are not the program's, is refused and not changed. Downgrades need
/// an explicit option. A database that holds data is dumped before it is changed. Several processes may start at the
/// same time (<see cref="MigrationLock"/>).
/// </summary>
public sealed partial class Migrator(Db db, ILogger log)
{
    const int OldestServer = 140_000;

    /// <summary>The version that this program needs.</summary>
    public static int DesiredVersion => MigrationScripts.Embedded.Newest;

    public MigrationRules Rules { get; init; } = MigrationRules.Default;

    /// <summary>
    /// Where the dump before a change goes, and whether to take one; null: no dump, for databases that hold no data.
    /// </summary>
    public Settings? Settings { get; init; }

    /// <summary>Applies pending scripts; returns how many ran.</summary>
    /// <exception cref="ProblemException">Unavailable: server not reachable or too old, the lock or a table is held too
    /// long, the dump failed. Conflict: the database is newer, scripts were edited, a script failed, or one was
    /// interrupted so that the operator must decide.</exception>
    public Task<int> MigrateAsync(CancellationToken cancel) =>
        MigrateAsync(Rules.Scripts.Newest, allowDowngrade: false, cancel);

    /// <summary>The same to any version; down only with <paramref name="allowDowngrade"/>.</summary>
    public Task<int> MigrateAsync(int target, bool allowDowngrade, CancellationToken cancel) =>
        ExplainedAsync(db, async () =>
    {
        RefuseTarget(target);
        await using var session = await MigrationSession.OpenAsync(db, Rules, log, cancel);
        // Most starts have nothing to do, and find that in one round trip without the lock.
        if (await MigrationState.IsSettledAsync(session.Work, Rules.Scripts, target, cancel)) return 0;
        if (await MigrationState.ReadAsync(session.Work, cancel) is { } first
            && await IsSettledAsync(session, first, target, cancel)) return 0;
        await session.LockAsync(cancel);
        var state = await session.StateAsync(cancel);
        state.RefuseNewer(Rules.Scripts);
        await CheckScriptsAsync(session, state, cancel);
        var path = Path(state, target, allowDowngrade);
        if (path.Count > 0 && Settings is not null)
            await UpgradeDump.TakeAsync(Settings, db, session.Work, Rules.Scripts,
                state.Version, target, log, Rules.Time, cancel);
        foreach (var script in path)
        {
            Log.Applying(log, script.Name);
            await RunAsync(session, script, state.Unfinished, cancel);
        }
        if (Rules.Scripts.Identity is not null)
            await session.ExecuteAsync(ComparedWith(Rules.Scripts.Identity), cancel);
        return path.Count;
    });

    /// <summary>
    /// The text of the scripts that a migration to <paramref name="target"/> would run, after they were tried in a
    /// transaction that is rolled back. From the first script without a transaction on, they are only printed.
    /// </summary>
    /// <returns>The SQL, and the first script that was not tried.</returns>
    public Task<(string Sql, Migration? NotTried)> DryRunAsync(
        int target, bool allowDowngrade, CancellationToken cancel) => ExplainedAsync(db, async () =>
    {
        RefuseTarget(target);
        await using var session = await MigrationSession.OpenAsync(db, Rules, log, cancel);
        await session.LockAsync(cancel);
        var state = await session.PeekAsync(cancel);
        state.RefuseNewer(Rules.Scripts);
        MigrationState.RefuseEdited(state.Differing(Rules.Scripts));
        var path = Path(state, target, allowDowngrade);
        var text = new StringBuilder();
        foreach (var script in path)
            text.Append($"-- {script.Name}: from version {script.From} to {script.To}\n")
                .Append(script.Transactional ? "BEGIN;\n" : "").Append(script.Sql.TrimEnd())
                .Append($"\nUPDATE schemaversion SET version = {script.To};\n")
                    .Append(script.Transactional ? "COMMIT;\n\n" : "\n");
        var tried = path.TakeWhile(s => s.Transactional).ToList();
        await session.TryAsync(tried, cancel);
        return (text.ToString(), path.ElementAtOrDefault(tried.Count));
    });

    void RefuseTarget(int target)
    {
        if (target < 0 || target > Rules.Scripts.Newest)
            throw new ProblemException(ProblemKind.Invalid,
                $"There is no schema version {target}; this program knows 0 to {Rules.Scripts.Newest}.");
    }

    async Task<bool> IsSettledAsync(
        MigrationSession session, MigrationState state, int target, CancellationToken cancel)
    {
        state.RefuseNewer(Rules.Scripts);
        if (state.Version != target || state.Unfinished.Count > 0 || state.Seals.Count < state.Version) return false;
        await CheckScriptsAsync(session, state, cancel);
        if (Rules.Scripts.Identity is { } identity) await session.ExecuteAsync(ComparedWith(identity), cancel);
        return true;
    }

    static NpgsqlBatchCommand ComparedWith(string identity) =>
        MigrationSession.Make(MigratorSql.Compared, ("identity", identity));

    async Task CheckScriptsAsync(MigrationSession session, MigrationState state, CancellationToken cancel)
    {
        var differing = state.Differing(Rules.Scripts);
        MigrationState.RefuseEdited(differing);
        foreach (var (script, _) in differing)
            await session.ExecuteAsync(MigrationSession.Make(MigratorSql.RefreshRaw,
                ("version", script.Version), ("rawChecksum", script.RawChecksum())), cancel);
    }

    /// <summary>The scripts from here to there.</summary>
    List<Migration> Path(MigrationState state, int target, bool allowDowngrade)
    {
        var scripts = Rules.Scripts;
        if (state.Unfinished is [var begun, ..])
        {
            var script = begun.Up ? scripts.Up(begun.Version) : scripts.Down(begun.Version);
            if (script is null || script.Transactional
                || !(begun.Up ? target > state.Version : target < state.Version && allowDowngrade))
                throw new ProblemException(ProblemKind.Conflict,
                    $"The {(begun.Up ? "upgrade to" : "downgrade from")} schema version {begun.Version} "
                    + "was interrupted. "
                    + "See what ran, then resume or roll back: capsul db repair.");
        }
        if (target >= state.Version)
            return [.. Enumerable.Range(state.Version + 1, target - state.Version).Select(scripts.Up)];
        if (!allowDowngrade)
            throw new ProblemException(ProblemKind.Conflict,
                $"The database is at schema version {state.Version}; downgrading to {target} may lose data and needs "
                + "--allow-downgrade.");
        return [.. Enumerable.Range(target + 1, state.Version - target)
            .Reverse().Select(version => DownOf(state, version))];
    }

    Migration DownOf(MigrationState state, int version)
    {
        var script = Rules.Scripts.Down(version)
            ?? throw new ProblemException(ProblemKind.Conflict,
            $"Schema version {version} has no down script; nothing was changed.");
        if (state.Seals.FirstOrDefault(s => s.Version == version)?.DownChecksum is { } was && was != script.Checksum())
            throw new ProblemException(ProblemKind.Conflict,
                $"{script.Name} is no longer what it was when version {version} was applied. Scripts are never "
                + "edited; nothing was changed.");
        return script;
    }

    internal static Task RunAsync(
        MigrationSession session, Migration script, IReadOnlyList<RecordedStatement> unfinished,
        ILogger log, CancellationToken cancel) => script.Transactional
        ? session.RunWholeAsync(script, cancel)
        : new Stepwise(session, log)
            .RunAsync(script, [.. unfinished.Where(s => s.Version == script.Version && s.Up == script.Up)], cancel);

    Task RunAsync(MigrationSession session, Migration script, IReadOnlyList<RecordedStatement> unfinished,
        CancellationToken cancel) => RunAsync(session, script, unfinished, log, cancel);

    /// <summary>Outside the pool: the session locks must not be returned to it.</summary>
    internal static async Task<NpgsqlConnection> ConnectAsync(Db db, CancellationToken cancel)
    {
        try
        {
            return await db.OpenAloneAsync("capsul migrations", cancel, parts =>
                parts.IncludeFailedBatchedCommand = true);
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            throw new ProblemException(db.Explain(error), error);
        }
    }

    /// <summary>Also explains a connection that is lost half way.</summary>
    internal static async Task<T> ExplainedAsync<T>(Db db, Func<Task<T>> work)
    {
        try
        {
            return await work();
        }
        catch (NpgsqlException error)
        {
            throw new ProblemException(db.Explain(error), error);
        }
    }

    /// <summary>The problem if the server is older than PostgreSQL 14, by its <c>server_version_num</c>.</summary>
    public static Problem? TooOld(int serverVersion) => serverVersion >= OldestServer
        ? null : new(ProblemKind.Unavailable,
        $"The PostgreSQL server is version {serverVersion / 10_000}; Capsul needs {OldestServer / 10_000} or newer.");

    static partial class Log
    {
        [LoggerMessage(110, LogLevel.Information, "Applying schema migration {Name}")]
        public static partial void Applying(ILogger log, string name);
    }
}
