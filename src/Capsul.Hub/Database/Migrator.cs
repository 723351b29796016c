using System.Globalization;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Database;

/// <summary>One numbered script: up from <c>Version - 1</c> to <c>Version</c>, or down again.</summary>
public sealed record Migration(int Version, bool Up, string Name, string Sql);

/// <summary>
/// Brings the database to the version that this program wants. Table <c>schemaversion</c> has one row and one column,
/// <c>version</c>; scripts run one by one until it is equal, each in one transaction with its new version. A database newer than
/// the program is refused and left alone. Several Hubs may start at once: a session lock on its own connection lets one work while
/// the others wait, and frees itself when the holder dies.
/// </summary>
public sealed partial class Migrator(Db db, ILogger log)
{
    static readonly TimeSpan LockWait = TimeSpan.FromMinutes(2);
    const int OldestServer = 140_000;

    /// <summary>The scripts inside this program, ordered.</summary>
    public static readonly IReadOnlyList<Migration> Scripts = Load();

    /// <summary>The version that this program works with.</summary>
    public static int DesiredVersion => Scripts.Max(s => s.Version);

    /// <summary>Applies what is missing; gives how many scripts ran.</summary>
    /// <exception cref="ProblemException">Unavailable: server not reachable, too old, or the lock is held too long. Conflict: database newer.</exception>
    public async Task<int> MigrateAsync(CancellationToken cancel)
    {
        await using var connection = await ConnectAsync(db, cancel);
        await CheckServerAsync(connection, cancel);
        await LockAsync(connection, cancel);
        try
        {
            return await ApplyAsync(connection, DesiredVersion, cancel);
        }
        finally
        {
            await connection.ExecuteAsync(new CommandDefinition(MigratorSql.Unlock, new { key = MigratorSql.LockKey }, cancellationToken: CancellationToken.None));
        }
    }

    /// <summary>Runs the scripts between the database's version and <paramref name="target"/>, up or down. For tests and the database verbs.</summary>
    public async Task<int> ApplyAsync(NpgsqlConnection connection, int target, CancellationToken cancel)
    {
        var version = await VersionAsync(connection, cancel);
        if (version > DesiredVersion)
            throw new ProblemException(ProblemKind.Conflict,
                $"The database is at schema version {version}, newer than this program, which knows up to {DesiredVersion}. Use the newer program; nothing was changed.");
        var count = 0;
        for (; version != target; count++)
        {
            var script = version < target
                ? Scripts.Single(s => s.Up && s.Version == version + 1)
                : Scripts.Single(s => !s.Up && s.Version == version);
            var next = script.Up ? script.Version : script.Version - 1;
            Log.Applying(log, script.Name);
            await RunAsync(connection, script, version, next, cancel);
            version = next;
        }
        return count;
    }

    /// <summary>Outside the pool: the session lock must not go back to it.</summary>
    static async Task<NpgsqlConnection> ConnectAsync(Db db, CancellationToken cancel)
    {
        try
        {
            return await db.OpenAloneAsync("capsul migrations", cancel);
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            throw new ProblemException(db.Explain(error), error);
        }
    }

    static async Task CheckServerAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var version = await connection.ExecuteScalarAsync<int>(new CommandDefinition(MigratorSql.ServerVersion, cancellationToken: cancel));
        if (TooOld(version) is { } problem) throw new ProblemException(problem);
    }

    /// <summary><c>server_version_num</c> of a server, such as 150018.</summary>
    /// <exception cref="ProblemException">Unavailable: it cannot be reached, or refuses.</exception>
    public static async Task<int> ServerVersionAsync(Db db, CancellationToken cancel)
    {
        await using var connection = await ConnectAsync(db, cancel);
        return await connection.ExecuteScalarAsync<int>(new CommandDefinition(MigratorSql.ServerVersion, cancellationToken: cancel));
    }

    /// <summary>The refusal of a server older than PostgreSQL 14, by its <c>server_version_num</c>.</summary>
    public static Problem? TooOld(int serverVersion) => serverVersion >= OldestServer ? null : new(ProblemKind.Unavailable,
        $"The PostgreSQL server is version {serverVersion / 10_000}; Capsul needs {OldestServer / 10_000} or newer.");

    async Task LockAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (!await connection.ExecuteScalarAsync<bool>(new CommandDefinition(MigratorSql.TryLock, new { key = MigratorSql.LockKey }, cancellationToken: cancel)))
        {
            var holder = await connection.ExecuteScalarAsync<string?>(new CommandDefinition(MigratorSql.Holder, new { key = MigratorSql.LockKey }, cancellationToken: cancel));
            if (clock.Elapsed > LockWait)
                throw new ProblemException(ProblemKind.Unavailable, $"Another process has been migrating the database for {LockWait.TotalMinutes:0} minutes: {holder ?? "unknown"}.");
            Log.Waiting(log, holder ?? "another process");
            // Advisory locks have no event to wait for that is safe with concurrent index builds; polling is the documented way.
            await Task.Delay(TimeSpan.FromMilliseconds(200), cancel);
        }
    }

    static async Task<int> VersionAsync(NpgsqlConnection connection, CancellationToken cancel)
    {
        if (!await connection.ExecuteScalarAsync<bool>(new CommandDefinition(MigratorSql.TableExists, cancellationToken: cancel)))
            await connection.ExecuteAsync(new CommandDefinition(MigratorSql.MakeTable, cancellationToken: cancel));
        return await connection.QuerySingleAsync<int>(new CommandDefinition(MigratorSql.Version, cancellationToken: cancel));
    }

    static async Task RunAsync(NpgsqlConnection connection, Migration script, int from, int next, CancellationToken cancel)
    {
        await using var transaction = await connection.BeginTransactionAsync(cancel);
        try
        {
            await using (var command = new NpgsqlCommand(script.Sql, connection, transaction) { CommandTimeout = 0 })
                await command.ExecuteNonQueryAsync(cancel);
            var rows = await connection.ExecuteAsync(new CommandDefinition(MigratorSql.SetVersion, new { version = next, from }, transaction, cancellationToken: cancel));
            if (rows != 1)
                throw new ProblemException(ProblemKind.Conflict, $"Table schemaversion must have exactly one row with version {from}; found {rows} such rows.");
        }
        catch (PostgresException error)
        {
            throw new ProblemException(ProblemKind.Conflict, $"Migration {script.Name} failed and was rolled back: {error.MessageText}.", error.ToString(), error);
        }
        await transaction.CommitAsync(cancel);
    }

    static List<Migration> Load()
    {
        var assembly = typeof(Migrator).Assembly;
        var found = new List<Migration>();
        foreach (var resource in assembly.GetManifestResourceNames().Where(n => n.StartsWith("migrations/", StringComparison.Ordinal)))
        {
            var name = resource["migrations/".Length..];
            if (ScriptName().Match(name) is not { Success: true } match) continue;
            using var reader = new StreamReader(assembly.GetManifestResourceStream(resource)!);
            found.Add(new Migration(int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture), match.Groups[2].Value == "up", name, reader.ReadToEnd()));
        }
        return [.. found.OrderBy(s => s.Version)];
    }

    [GeneratedRegex(@"^([0-9]+)_(up|down)_[a-z0-9_]+\.sql$", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex ScriptName();

    static partial class Log
    {
        [LoggerMessage(110, LogLevel.Information, "Applying schema migration {Name}")]
        public static partial void Applying(ILogger log, string name);

        [LoggerMessage(111, LogLevel.Information, "Waiting for migrations by {Holder}")]
        public static partial void Waiting(ILogger log, string holder);
    }
}
