using System.Globalization;
using Capsul.Foundation;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>Options of a call.</summary>
/// <param name="Operator">Who runs it; for the operator log.</param>
/// <param name="ReadOnly">Nothing may be changed.</param>
/// <param name="Timeout">Time limit for one statement; zero: no limit.</param>
public sealed record RunOptions(string Operator, bool ReadOnly, TimeSpan Timeout);

/// <summary>
/// Runs the statements of one call, one by one and each as it was typed, and prints each result before the next
/// statement begins. They are one transaction: all or nothing. If the script has its own transaction commands they are
/// honored: statements between BEGIN and COMMIT are a transaction, and those outside are one up to the next BEGIN or
/// the end. VACUUM and similar statements, which PostgreSQL refuses inside a transaction, run if they are alone or if
/// the script has its own transaction commands.
/// </summary>
public sealed partial class StatementRun : IAsyncDisposable
{
    readonly NpgsqlConnection connection;
    readonly RowOutput output;
    readonly TextWriter notes;
    readonly Stream input;
    readonly RunOptions options;
    readonly OperatorLog log;
    readonly Db db;

    /// <summary>Canceled when the rest of the running statement is no longer needed.</summary>
    CancellationTokenSource giveUp = new();

    /// <summary>Whether a transaction is open, and whether it is the script's own.</summary>
    bool open, own;

    /// <summary>Whether the open transaction has written something.</summary>
    bool written;

    /// <summary>Rows that it had written before the current statement.</summary>
    long rowsWritten;

    /// <summary>Whether the open transaction can no longer become read-write.</summary>
    bool locked;

    static readonly TimeSpan CancelEvery = TimeSpan.FromMilliseconds(100);

    /// <summary>Whether an earlier transaction of this call was committed.</summary>
    bool committed;

    StatementRun(Db db, NpgsqlConnection connection, RowOutput output,
        TextWriter notes, Stream input, RunOptions options)
    {
        this.db = db;
        (this.connection, this.output, this.notes, this.input, this.options) =
            (connection, output, notes, input, options);
        log = new OperatorLog(connection, options.Operator, notes);
        connection.Notice += (_, heard) => Hear(heard.Notice);
        connection.Notification += (_, heard) => notes.WriteLine(
            $"NOTIFY:  {heard.Channel}{(heard.Payload.Length > 0 ? $", {heard.Payload}" : "")} (from pid {heard.PID})");
    }

    /// <summary>Opens a dedicated connection.</summary>
    /// <param name="db">The database.</param>
    /// <param name="output">For results.</param>
    /// <param name="notes">For the server's messages.</param>
    /// <param name="input">Data of a COPY … FROM STDIN that is not in the script.</param>
    /// <exception cref="ProblemException">Unavailable: the server cannot be reached, or refuses.</exception>
    public static async Task<StatementRun> OpenAsync(
        Db db, RowOutput output, TextWriter notes, Stream input, RunOptions options, CancellationToken cancel)
    {
        try
        {
            var connection = await db.OpenBareAsync("capsul sql", cancel, parts =>
            {
                // Every value is text, so types need not be known; loading them takes time. The newer API needs a data
                // source, which does not support unpooled connections to several hosts.
#pragma warning disable CS0618
                parts.ServerCompatibilityMode = ServerCompatibilityMode.NoTypeLoading;
#pragma warning restore CS0618
                parts.MaxAutoPrepare = 0;
                // An operator may see the contents of rows that a constraint rejected.
                parts.IncludeErrorDetail = true;
                parts.ReadBufferSize = 1 << 16;
                parts.CommandTimeout = 0;
            });
            var run = new StatementRun(db, connection, output, notes, input, options);
            await run.PrepareAsync(cancel);
            return run;
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            throw new ProblemException(db.Explain(error), error);
        }
    }

    async Task PrepareAsync(CancellationToken cancel)
    {
        await RefusePoolerAsync(cancel);
        var table = await AskAsync(StatementsSql.PrepareSession((long)options.Timeout.TotalMilliseconds,
            options.ReadOnly), cancel);
        if (!options.ReadOnly && table is not null) log.Begin(long.Parse(table, CultureInfo.InvariantCulture));
    }

    /// <summary>Session settings would stay on a connection that others share.</summary>
    async Task RefusePoolerAsync(CancellationToken cancel)
    {
        // Without a pooler the session has the PID that was announced when the connection began.
        if (await AskAsync(PoolerSql.ServerPid, cancel) == connection.ProcessID.ToString(CultureInfo.InvariantCulture))
            return;
        if (await Pooler.FindAsync(db, cancel) is { } problem) throw new ProblemException(problem);
    }

    /// <summary>How many rows a table has, or null if that cannot be found quickly.</summary>
    public async Task<long?> RowsOfAsync(string table, CancellationToken cancel)
    {
        try
        {
            await using var command = Command(StatementsSql.TableRows, table);
            return await command.ExecuteScalarAsync(cancel) as long?;
        }
        catch (PostgresException)
        {
            return null;
        }
    }

    /// <summary>Runs all statements.</summary>
    /// <exception cref="StatementException">The server rejected one.</exception>
    /// <exception cref="ProblemException">Invalid: they cannot be run together. Unavailable: the connection
    /// broke.</exception>
    /// <exception cref="ClosedOutputException">The reader has closed the output; everything was rolled
    /// back.</exception>
    public async Task RunAsync(IReadOnlyList<ScriptStatement> statements, CancellationToken cancel)
    {
        Check(statements);
        giveUp.Dispose();
        giveUp = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using var ended = new CancellationTokenSource();
        var stopping = CancelOnServerAsync(giveUp.Token, ended.Token);
        try
        {
            foreach (var statement in statements)
            {
                cancel.ThrowIfCancellationRequested();
                await TryOneAsync(statement, alone: statements.Count == 1, cancel);
            }
            await FinishAsync(statements, CancellationToken.None);
        }
        finally
        {
            await ended.CancelAsync();
            await stopping;
        }
    }

    async Task TryOneAsync(ScriptStatement statement, bool alone, CancellationToken cancel)
    {
        try
        {
            // Cancellation is reported by the server, as the end of the statement.
            await RunOneAsync(statement, CancellationToken.None);
        }
        catch (PostgresException error)
            when (error.SqlState == PostgresErrorCodes.QueryCanceled && cancel.IsCancellationRequested)
        {
            throw new OperationCanceledException("Canceled on the server.", error, cancel);
        }
        catch (PostgresException error) when (alone && !options.ReadOnly && WantsNoTransaction(error))
        {
            // Only the server knows whether a procedure commits, or a table has partitions.
            await RollbackAsync();
            await TryOneAsync(statement with { Shape = statement.Shape with { Kind = StatementKind.Outside } },
                alone: false, cancel);
        }
        catch (PostgresException error)
        {
            await RollbackAsync();
            throw new StatementException(StatementError.Explain(statement, error, await AdviceAsync(error), Remains()),
                error);
        }
        catch (NpgsqlException error)
        {
            throw Broken(statement, error);
        }
    }

    static bool WantsNoTransaction(PostgresException error) =>
        error.SqlState is PostgresErrorCodes.ActiveSqlTransaction or PostgresErrorCodes.InvalidTransactionTermination;

    /// <summary>
    /// Waits for cancellation, and then sends cancel requests to the server repeatedly until the statement has ended: a
    /// request that arrives between two statements is lost. It uses a separate connection, because rows are read
    /// synchronously on the first.
    /// </summary>
    async Task CancelOnServerAsync(CancellationToken wanted, CancellationToken ended)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(wanted, ended);
        await Task.Delay(Timeout.Infinite, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        try
        {
            if (ended.IsCancellationRequested) return;
            await using var other = await db.OpenBareAsync("capsul sql, canceling", ended);
            while (true)
            {
                await using var command = new NpgsqlCommand(StatementsSql.CancelBackend,
                    other)
                { Parameters = { new NpgsqlParameter<int> { TypedValue = connection.ProcessID } } };
                await command.ExecuteNonQueryAsync(ended);
                await Task.Delay(CancelEvery, ended);
            }
        }
        catch (OperationCanceledException)
        {
            // The statement has ended.
        }
        catch (NpgsqlException)
        {
            // Without a second connection the first is closed, and the server notices when it next sends.
            await connection.CloseAsync();
        }
    }

    /// <summary>Rejects what cannot work before anything runs.</summary>
    void Check(IReadOnlyList<ScriptStatement> statements)
    {
        if (options.ReadOnly && statements.FirstOrDefault(s => s.Shape.LeavesTransaction) is { } leaves)
            throw new ProblemException(ProblemKind.Invalid, $"{leaves.Shape.Tag} cannot be used with --read-only.");
        var scripted = statements.Any(s => s.Shape.Kind is StatementKind.Begin
            or StatementKind.EndTransaction or StatementKind.Chain);
        if (statements.FirstOrDefault(s => s.Shape.Kind == StatementKind.Outside) is not { } outside) return;
        if (statements.Count > 1 && !scripted)
            throw new ProblemException(ProblemKind.Invalid,
                $"{outside.Place(outside.Sql.Line)}: {outside.Shape.Tag} cannot be part of a transaction, and all "
                    + "statements of one call are one. Run it in a separate call, or write BEGIN and COMMIT around "
                    + "the others.");
    }

    async Task RunOneAsync(ScriptStatement statement, CancellationToken cancel)
    {
        var kind = statement.Shape.Kind;
        if (open && !own && (kind is StatementKind.Begin or StatementKind.Outside)) await EndOwnAsync(cancel);
        if (!open && (kind is StatementKind.Plain or StatementKind.CopyIn or StatementKind.CopyOut))
            await BeginAsync(cancel);
        if (options.ReadOnly && open && !locked && !statement.Shape.IsSetting) await LockReadOnlyAsync(cancel);
        if (options.ReadOnly && kind is StatementKind.EndTransaction or StatementKind.Chain)
            statement = UndoInstead(statement);
        await CountWrittenAsync(statement, cancel);
        long? rows = kind switch
        {
            StatementKind.CopyIn => await CopyInAsync(statement, cancel),
            StatementKind.CopyOut => await CopyOutAsync(statement, cancel),
            _ when open && statement.Shape.ReadsCatalog => await ExecuteInOrderAsync(statement, cancel),
            _ => await ExecuteAsync(statement, cancel),
        };
        if (kind is StatementKind.Begin or StatementKind.Chain)
        {
            committed |= kind == StatementKind.Chain && written;
            (open, own, locked, written) = (true, true, false, written && kind == StatementKind.Begin);
        }
        else if (kind == StatementKind.EndTransaction)
        {
            committed |= statement.Shape.Tag is "COMMIT" or "PREPARE TRANSACTION";
            (open, own, written) = (false, false, false);
        }
        else await LogAsync(statement, rows, cancel);
    }

    /// <summary>Some functions write even in a read-only transaction: lo_create before PostgreSQL 16.</summary>
    static ScriptStatement UndoInstead(ScriptStatement end) => end with
    {
        Sql = end.Sql with { Text = end.Shape.Kind == StatementKind.Chain ? "ROLLBACK AND CHAIN" : "ROLLBACK" },
        Shape = end.Shape with { Tag = "ROLLBACK" },
    };

    async Task BeginAsync(CancellationToken cancel)
    {
        await ExecuteQuietlyAsync("BEGIN", cancel);
        (open, own, locked, written) = (true, false, false, false);
    }

    /// <summary>After its first query PostgreSQL does not let a transaction become read-write.</summary>
    async Task LockReadOnlyAsync(CancellationToken cancel)
    {
        await ExecuteQuietlyAsync("SET TRANSACTION READ ONLY", cancel);
        await ExecuteQuietlyAsync(StatementsSql.HasWritten, cancel);
        locked = true;
    }

    /// <summary>Commits the statements outside the script's own transactions.</summary>
    async Task EndOwnAsync(CancellationToken cancel)
    {
        await ExecuteQuietlyAsync(options.ReadOnly ? "ROLLBACK" : "COMMIT", cancel);
        committed |= written;
        (open, written) = (false, false);
    }

    async Task FinishAsync(IReadOnlyList<ScriptStatement> statements, CancellationToken cancel)
    {
        if (!open) return;
        if (own)
        {
            await RollbackAsync();
            throw new StatementException(
                "The script begins a transaction and does not commit it, so it was rolled back.");
        }
        try
        {
            await EndOwnAsync(cancel);
        }
        catch (PostgresException error)
        {
            // Deferred constraints.
            open = false;
            throw new StatementException(
                $"At the end of the transaction: {StatementError.Explain(statements[^1], error, Remains())}", error);
        }
        catch (NpgsqlException error)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The connection to PostgreSQL was lost while the transaction was being committed ({error.Message}); "
                    + "check whether the change was made.", error.ToString(), error);
        }
    }

    async Task<string?> AdviceAsync(PostgresException error)
    {
        if (WantsNoTransaction(error) && !options.ReadOnly)
            return "All statements of one call are one transaction, and this one cannot be part of one. Run it in a "
                + "separate call.";
        if (error.SqlState is not (PostgresErrorCodes.UndefinedTable or PostgresErrorCodes.UndefinedColumn))
            return null;
        await using var command = Command(StatementsSql.HasSchema);
        return await command.ExecuteScalarAsync(CancellationToken.None) is false
            ? "This database has no Capsul tables yet; the first start of the Hub (capsul up) creates them." : null;
    }

    string Remains() => committed ? "What was committed before is kept." : "Nothing was changed.";

    async Task RollbackAsync()
    {
        // A server that shuts down closes the connection after its last message.
        if (open && connection.FullState == System.Data.ConnectionState.Open)
            await ExecuteQuietlyAsync("ROLLBACK", CancellationToken.None);
        open = false;
    }

    ProblemException Broken(ScriptStatement statement, NpgsqlException error) => new(ProblemKind.Unavailable,
        $"{statement.Place(statement.Sql.Line)}: the connection to PostgreSQL was lost: "
            + $"{error.InnerException?.Message ?? error.Message} {Remains()}", error.ToString(), error);

    void Hear(PostgresNotice notice)
    {
        notes.WriteLine($"{notice.Severity}:  {notice.MessageText}");
        if (!string.IsNullOrEmpty(notice.Detail)) notes.WriteLine($"DETAIL:  {notice.Detail}");
        if (!string.IsNullOrEmpty(notice.Hint)) notes.WriteLine($"HINT:  {notice.Hint}");
    }

    async Task ExecuteQuietlyAsync(string sql, CancellationToken cancel)
    {
        await using var command = Command(sql);
        await command.ExecuteNonQueryAsync(cancel);
    }

    NpgsqlCommand Command(string sql, params ReadOnlySpan<string> values)
    {
        var command = new NpgsqlCommand(sql, connection) { CommandTimeout = 0 };
        foreach (var value in values) command.Parameters.Add(new NpgsqlParameter<string> { TypedValue = value });
        return command;
    }

    public async ValueTask DisposeAsync()
    {
        giveUp.Dispose();
        await connection.DisposeAsync();
    }
}
