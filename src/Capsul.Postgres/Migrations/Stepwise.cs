using Capsul.Foundation;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>
/// Runs a script whose first line says that it has no transaction. Each statement's outcome is recorded, so that the
/// next process knows where to continue after a crash. A statement that can run in a transaction shares it with its
/// outcome "done", and is never in doubt; for the others (an index built concurrently) the catalog shows the effect.
/// </summary>
sealed partial class Stepwise(MigrationSession session, ILogger log)
{
    /// <summary>Runs the statements not recorded as done, then sets the version.</summary>
    /// <param name="recorded">The records of an interrupted run; empty for a new one.</param>
    /// <exception cref="ProblemException">Conflict: a statement failed, or the outcome of one is unknown; those before
    /// it took effect.</exception>
    public async Task RunAsync(Migration script, IReadOnlyList<RecordedStatement> recorded, CancellationToken cancel)
    {
        MigrationSession.RefuseTransactionStatements(script);
        RefuseOther(script, recorded);
        for (var ordinal = 1; ordinal <= script.Statements.Count; ordinal++)
        {
            var known = recorded.FirstOrDefault(r => r.Ordinal == ordinal);
            if (known?.Outcome == "done") continue;
            if (known is not null && await IsThereAsync(script, known, cancel))
                await session.ExecuteAsync(Ended(script, ordinal, "done", ""), cancel);
            else
                await RunOneAsync(script, ordinal, cancel);
        }
        await session.InTransactionAsync(async transaction =>
        {
            await using var batch = session.Batch(transaction);
            session.AddEnd(batch, script);
            await batch.ExecuteNonQueryAsync(cancel);
            MigrationSession.CheckVersion(batch, script);
        }, cancel);
    }

    /// <summary>
    /// A statement that took effect must be the same in the script; one that failed may have been corrected.
    /// </summary>
    static void RefuseOther(Migration script, IReadOnlyList<RecordedStatement> recorded)
    {
        foreach (var known in recorded.Where(r => r.Outcome == "done"))
        {
            if (known.Ordinal > script.Statements.Count
                || Text.SqlText.Checksum(script.Statements[known.Ordinal - 1].Text) != Text.SqlText.Checksum(
                known.Statement))
                throw new ProblemException(ProblemKind.Conflict,
                    $"{script.Name} was interrupted, and statement {known.Ordinal}, which has run, is no longer in it. "
                        + "Restore it, or undo what ran: capsul db repair --roll-back.");
        }
    }

    async Task<bool> IsThereAsync(Migration script, RecordedStatement known, CancellationToken cancel)
    {
        switch (await Effects.OfAsync(session.Work, known, cancel))
        {
            case Effect.There:
                return true;
            case Effect.Unknown:
                throw new ProblemException(ProblemKind.Conflict,
                    $"{script.Name} was interrupted in statement {known.Ordinal}, and it is unknown whether that "
                        + "one took effect. Check, then run: capsul db repair --mark done, or --mark not-run.");
            default:
                await DropHalfAsync(known, cancel);
                return false;
        }
    }

    async Task RunOneAsync(Migration script, int ordinal, CancellationToken cancel)
    {
        var statement = script.Statements[ordinal - 1];
        var what = $"Statement {ordinal} (line {statement.Line}) of {script.Name}";
        var alone = Effects.RunsAlone(statement.Text);
        Log.Running(log, script.Name, ordinal, script.Statements.Count);
        await BeginAsync(script, ordinal, statement.Text, alone, cancel);
        try
        {
            try
            {
                if (!alone)
                    await session.RunWithAsync(what, statement.Text, Ended(script, ordinal, "done", ""), cancel);
            }
            catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.ActiveSqlTransaction)
            {
                alone = true;
                await BeginAsync(script, ordinal, statement.Text, alone, cancel);
            }
            if (!alone) return;
            await session.RunAloneAsync(what, statement.Text, () =>
                DropHalfAsync(Begun(script, ordinal, statement.Text), cancel), cancel);
            await session.ExecuteAsync(Ended(script, ordinal, "done", ""), cancel);
        }
        catch (PostgresException error) when (session.Work.FullState.HasFlag(System.Data.ConnectionState.Open))
        {
            await session.ExecuteAsync(Ended(script, ordinal, "failed", error.MessageText), cancel);
            throw new ProblemException(ProblemKind.Conflict,
                $"{what} failed: {error.MessageText.TrimEnd('.')}. The statements before it took effect; see capsul db "
                    + "repair.", error.ToString(), error);
        }
    }

    /// <summary>An index left by an interrupted or failed build blocks the next one.</summary>
    async Task DropHalfAsync(RecordedStatement statement, CancellationToken cancel)
    {
        if (await Effects.OfAsync(session.Work, statement, cancel) != Effect.Half) return;
        var index = Effects.IndexOf(statement.Statement)!;
        Log.Dropping(log, index);
        await session.ExecuteAsync(new NpgsqlBatchCommand(ScratchSql.DropIndex(index)), cancel);
    }

    Task BeginAsync(Migration script, int ordinal, string statement, bool alone, CancellationToken cancel) =>
        session.ExecuteAsync(MigrationSession.Make(MigratorSql.StatementBegins, ("version", script.Version),
            ("up", script.Up), ("ordinal", ordinal), ("statement", statement), ("alone", alone)), cancel);

    static RecordedStatement Begun(Migration script, int ordinal, string statement) =>
        new(script.Version, script.Up, ordinal, statement, true, "running", default, null, "");

    public static NpgsqlBatchCommand Ended(Migration script, int ordinal, string outcome, string problem) =>
        MigrationSession.Make(MigratorSql.StatementEnds, ("version", script.Version),
            ("up", script.Up), ("ordinal", ordinal), ("outcome", outcome), ("problem", problem));

    static partial class Log
    {
        [LoggerMessage(114, LogLevel.Information, "Migration {Name}: statement {Ordinal} of {Count}")]
        public static partial void Running(ILogger log, string name, int ordinal, int count);

        [LoggerMessage(115, LogLevel.Information, "Dropping the index {Name}, left by an interrupted build")]
        public static partial void Dropping(ILogger log, string name);
    }
}
