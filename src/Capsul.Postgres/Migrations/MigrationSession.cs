using System.Security.Cryptography;
using Capsul.Foundation;
using Dapper;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>Parameters of a migration. The defaults are for production.</summary>
public sealed record MigrationRules
{
    public static readonly MigrationRules Default = new();

    public MigrationScripts Scripts { get; init; } = MigrationScripts.Embedded;

    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>How long another process may be migrating.</summary>
    public TimeSpan OthersMayTake { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>How long a script is retried while others hold the locks it needs.</summary>
    public TimeSpan LockPatience { get; init; } = TimeSpan.FromMinutes(2);
}

/// <summary>
/// One connection that migrates: it runs a script in one transaction with its version, and retries when it does not get
/// its locks. A statement waits for a lock for two seconds only, because everybody else queues behind it; then it is
/// rolled back and retried with backoff, and the log names the blocking sessions.
/// </summary>
sealed partial class MigrationSession : IAsyncDisposable
{
    const string LockTimeout = "2s";
    /// <summary>A statement with CONCURRENTLY waits for others without blocking them.</summary>
    const string PatientLockTimeout = "10min";
    static readonly TimeSpan LookAfter = TimeSpan.FromMilliseconds(250),
        FirstPause = TimeSpan.FromMilliseconds(250), LongestPause = TimeSpan.FromSeconds(10);

    readonly Db db;
    readonly MigrationRules rules;
    readonly ILogger log;
    int pid;
    MigrationLock? held;

    MigrationSession(Db db, NpgsqlConnection work, MigrationRules rules, ILogger log) =>
        (this.db, Work, this.rules, this.log) = (db, work, rules, log);

    public NpgsqlConnection Work { get; }

    public MigrationScripts Scripts => rules.Scripts;

    /// <exception cref="ProblemException">Unavailable: no server, or one too old.</exception>
    public static async Task<MigrationSession> OpenAsync(
        Db db, MigrationRules rules, ILogger log, CancellationToken cancel)
    {
        var work = await Migrator.ConnectAsync(db, cancel);
        var version = work.PostgreSqlVersion;
        if (Migrator.TooOld((version.Major * 10_000) + version.Minor) is not { } problem)
            return new MigrationSession(db, work, rules, log);
        await work.DisposeAsync();
        throw new ProblemException(problem);
    }

    /// <summary>Excludes other migrating processes from here on.</summary>
    public async Task LockAsync(CancellationToken cancel)
    {
        pid = await Work.ExecuteScalarAsync<int>(
            new CommandDefinition(MigratorSql.PrepareSession, cancellationToken: cancel));
        held = await MigrationLock.TakeAsync(db, Work, rules.OthersMayTake, log, rules.Time, cancel);
    }

    /// <summary>
    /// The state; missing tables for it are created first. Scripts that ran before there was a record are assumed to be
    /// as they are now.
    /// </summary>
    public async Task<MigrationState> StateAsync(CancellationToken cancel)
    {
        var state = await MigrationState.ReadAsync(Work, cancel);
        if (state is null)
        {
            await InTransactionAsync(MakeAsync, cancel);
            state = (await MigrationState.ReadAsync(Work, cancel))!;
        }
        var missing = Enumerable.Range(1, Math.Min(state.Version, Scripts.Newest))
            .Except(state.Seals.Select(s => s.Version)).ToList();
        if (missing.Count == 0) return state;
        await InTransactionAsync(async _ =>
        {
            foreach (var version in missing)
                await ExecuteAsync(RecordOf(Scripts.Up(version), "found applied", ran: false), cancel);
        }, cancel);
        return (await MigrationState.ReadAsync(Work, cancel))!;
    }

    async Task MakeAsync(NpgsqlTransaction transaction)
    {
        if (!await HasVersionAsync(CancellationToken.None))
            await transaction.ExecuteAsync(MigratorSql.MakeVersion, null, CancellationToken.None);
        await transaction.ExecuteAsync(MigratorSql.MakeRecords, null, CancellationToken.None);
    }

    Task<bool> HasVersionAsync(CancellationToken cancel) =>
        Work.ExecuteScalarAsync<bool>(new CommandDefinition(MigratorSql.TableExists,
            new { name = "schemaversion" }, cancellationToken: cancel));

    /// <summary>The state without creating anything; a database that was never migrated is at version 0.</summary>
    public async Task<MigrationState> PeekAsync(CancellationToken cancel) =>
        await MigrationState.ReadAsync(Work, cancel)
        ?? new MigrationState(await HasVersionAsync(cancel)
            ? MigrationState.One(
                (await Work.QueryAsync<int>(new CommandDefinition(ServerSql.SchemaVersion, cancellationToken: cancel)))
                .AsList()) : 0, [], []);

    /// <summary>Runs a script in one transaction with its version.</summary>
    /// <exception cref="ProblemException">Conflict: it failed and was rolled back. Unavailable: others hold the locks
    /// it needs.</exception>
    public Task RunWholeAsync(Migration script, CancellationToken cancel) =>
        PatientlyAsync($"Migration {script.Name}", async () =>
    {
        await using var transaction = await Work.BeginTransactionAsync(cancel);
        await RunInAsync(transaction, script, cancel);
        await transaction.CommitAsync(cancel);
    }, cancel);

    /// <summary>Runs several scripts in one transaction that is rolled back.</summary>
    public Task TryAsync(IReadOnlyList<Migration> scripts, CancellationToken cancel) =>
        PatientlyAsync("The dry run", async () =>
    {
        await using var transaction = await Work.BeginTransactionAsync(cancel);
        await MakeAsync(transaction);
        foreach (var script in scripts) await RunInAsync(transaction, script, cancel);
    }, cancel);

    async Task RunInAsync(NpgsqlTransaction transaction, Migration script, CancellationToken cancel)
    {
        RefuseTransactionStatements(script);
        await using var batch = Batch(transaction);
        batch.BatchCommands.Add(LockTimeoutOf(LockTimeout, local: true));
        foreach (var statement in script.Statements) batch.BatchCommands.Add(new NpgsqlBatchCommand(statement.Text));
        AddEnd(batch, script);
        try
        {
            await batch.ExecuteNonQueryAsync(cancel);
        }
        catch (PostgresException error) when (!IsAboutLocks(error))
        {
            var at = error.BatchCommand is NpgsqlBatchCommand command ? batch.BatchCommands.IndexOf(command) - 1 : -1;
            var line = at >= 0 && at < script.Statements.Count ? $" at line {script.Statements[at].Line}" : "";
            throw new ProblemException(ProblemKind.Conflict,
                $"Migration {script.Name} failed{line} and was rolled back: {error.MessageText.TrimEnd('.')}.",
                error.ToString(), error);
        }
        CheckVersion(batch, script);
    }

    /// <exception cref="ProblemException">Invalid.</exception>
    public static void RefuseTransactionStatements(Migration script)
    {
        if (script.TransactionStatement is { } statement)
            throw new ProblemException(ProblemKind.Invalid,
                $"{script.Name} has {statement.Words(1)[0]} at line {statement.Line}; transactions are managed by "
                + "the migrator. Nothing was changed.");
    }

    public NpgsqlBatch Batch(NpgsqlTransaction transaction) => new(Work, transaction) { Timeout = 0 };

    /// <summary>
    /// Marks a script as applied: sets the version, adds the record, and deletes records of the other direction.
    /// </summary>
    public void AddEnd(NpgsqlBatch batch, Migration script)
    {
        batch.BatchCommands.Add(Make(MigratorSql.SetVersion, ("version", script.To), ("from", script.From)));
        batch.BatchCommands.Add(script.Up ? RecordOf(script, "", ran: true)
            : Make(MigratorSql.ForgetScriptsAbove, ("version", script.To)));
        batch.BatchCommands.Add(Make(MigratorSql.ForgetStatements, ("version", script.Version), ("up", !script.Up)));
    }

    public static void CheckVersion(NpgsqlBatch batch, Migration script)
    {
        if (batch.BatchCommands[^3].RecordsAffected is var rows and not 1)
            throw new ProblemException(ProblemKind.Conflict,
                $"Table schemaversion must have exactly one row with version {script.From}; found {rows} such rows.");
    }

    public NpgsqlBatchCommand RecordOf(Migration script, string how, bool ran) =>
        Make(MigratorSql.RecordScript, ("version", script.Version), ("name", script.Name),
            ("appliedBy", AppliedBy(how)), ("ran", ran),
            ("rawChecksum", script.RawChecksum()), ("checksum", script.Checksum()),
            ("downChecksum", Scripts.Down(script.Version)?.Checksum()));

    static string AppliedBy(string how)
    {
        var version = typeof(Migration).Assembly.GetName().Version?.ToString(3);
        return $"{(how.Length > 0 ? how + " by " : "")}capsul {version} on {Environment.MachineName}";
    }

    public static NpgsqlBatchCommand LockTimeoutOf(string limit, bool local) =>
        Make(MigratorSql.SetLockTimeout, ("limit", limit), ("local", local));

    public static NpgsqlBatchCommand Make(string sql, params ReadOnlySpan<(string Name, object? Value)> parameters)
    {
        var command = new NpgsqlBatchCommand(sql);
        foreach (var (name, value) in parameters)
            command.Parameters.Add(new NpgsqlParameter(name, value ?? DBNull.Value));
        return command;
    }

    /// <summary>Runs one command, in its own transaction unless one is open.</summary>
    public async Task ExecuteAsync(NpgsqlBatchCommand command, CancellationToken cancel)
    {
        await using var batch = new NpgsqlBatch(Work) { Timeout = 0 };
        batch.BatchCommands.Add(command);
        await batch.ExecuteNonQueryAsync(cancel);
    }

    /// <summary>Runs one statement of a script in a transaction with its record.</summary>
    public Task RunWithAsync(string what, string statement, NpgsqlBatchCommand? record, CancellationToken cancel) =>
        PatientlyAsync(what, async () =>
    {
        await using var transaction = await Work.BeginTransactionAsync(cancel);
        await using var batch = Batch(transaction);
        batch.BatchCommands.Add(LockTimeoutOf(LockTimeout, local: true));
        batch.BatchCommands.Add(new NpgsqlBatchCommand(statement));
        if (record is not null) batch.BatchCommands.Add(record);
        await batch.ExecuteNonQueryAsync(cancel);
        await transaction.CommitAsync(cancel);
    }, cancel);

    /// <summary>
    /// Runs one statement outside any transaction; <paramref name="before"/> removes what an earlier attempt left.
    /// </summary>
    public Task RunAloneAsync(string what, string statement, Func<Task> before, CancellationToken cancel) =>
        PatientlyAsync(what, async () =>
    {
        await ExecuteAsync(LockTimeoutOf(PatientLockTimeout, local: false), cancel);
        await before();
        await ExecuteAsync(new NpgsqlBatchCommand(statement), cancel);
    }, cancel);

    public async Task InTransactionAsync(Func<NpgsqlTransaction, Task> work, CancellationToken cancel)
    {
        await using var transaction = await Work.BeginTransactionAsync(cancel);
        await work(transaction);
        await transaction.CommitAsync(cancel);
    }

    static bool IsAboutLocks(PostgresException error) =>
        error.SqlState is PostgresErrorCodes.LockNotAvailable or PostgresErrorCodes.DeadlockDetected;

    /// <summary>Retries <paramref name="work"/>, which rolls back when it throws, until it gets its locks.</summary>
    async Task PatientlyAsync(string what, Func<Task> work, CancellationToken cancel)
    {
        var began = rules.Time.GetTimestamp();
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            var inTheWay = "a session that has ended";
            try
            {
                await WatchAsync(what, work(), who => inTheWay = who, cancel);
                return;
            }
            catch (PostgresException error) when (IsAboutLocks(error))
            {
                if (rules.Time.GetElapsedTime(began) + pause > rules.LockPatience)
                    throw new ProblemException(ProblemKind.Unavailable,
                        $"{what} could not lock what it changes within {rules.LockPatience.TotalSeconds:0} s; in the "
                            + $"way: {inTheWay}. It changed nothing; end that session, or try again later.",
                        error.ToString(), error);
                Log.Blocked(log, what, inTheWay);
                await Task.Delay(pause * (0.5 + (RandomNumberGenerator.GetInt32(1000) / 1000.0)), rules.Time, cancel);
            }
        }
    }

    /// <summary>While <paramref name="work"/> takes long, finds out what blocks it.</summary>
    async Task WatchAsync(string what, Task work, Action<string> found, CancellationToken cancel)
    {
        string? told = null;
        while (await Task.WhenAny(work, Task.Delay(LookAfter, CancellationToken.None)) != work)
        {
            if (held is null) continue;
            var sessions = await held.BlockingAsync(pid, cancel);
            if (sessions.Count == 0) continue;
            var who = string.Join("; ", sessions.Select(s =>
                $"{(s.Application.Length > 0 ? s.Application : "a session")} of user {s.Person} "
                + $"(pid {s.Pid}, since {s.Since:yyyy-MM-dd HH:mm:ss} UTC): {s.Query}"));
            found(who);
            if (who != told) Log.Waiting(log, what, told = who);
        }
        await work;
    }

    public async ValueTask DisposeAsync()
    {
        // The work connection first: once the lock is released another process may begin.
        await Work.DisposeAsync();
        if (held is not null) await held.DisposeAsync();
    }

    static partial class Log
    {
        [LoggerMessage(112, LogLevel.Warning,
            "{What} did not get its locks and was rolled back; in the way: {Who}. Retrying")]
        public static partial void Blocked(ILogger log, string what, string who);

        [LoggerMessage(113, LogLevel.Information, "{What} is waiting for {Who}")]
        public static partial void Waiting(ILogger log, string what, string who);
    }
}
