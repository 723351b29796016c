using Capsul.Foundation;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>A statement of an interrupted script, and its effect.</summary>
/// <param name="Line">In the script, from 1.</param>
/// <param name="Outcome">not run, running, done or failed.</param>
/// <param name="Effect">For one that is running or failed.</param>
public sealed record RepairLine(
    int Ordinal, int Line, string Statement, string Outcome, Effect? Effect, DateTime? Started, string Problem);

/// <summary>An unfinished script.</summary>
public sealed record Interrupted(Migration Script, IReadOnlyList<RepairLine> Lines);

/// <summary>The result of undoing a statement.</summary>
/// <param name="Said">undone, was not there, or failed: ….</param>
public sealed record UndoLine(int Line, string Statement, string Said, bool Good);

/// <summary>
/// Repairs an interrupted script without a transaction: resume, roll back, or mark the outcome of the statement whose
/// effect is unknown.
/// </summary>
public sealed class Repair(Db db, ILogger log)
{
    /// <summary>
    /// Errors that mean that there is nothing to undo: undefined table, column, object, function, schema; already
    /// exists.
    /// </summary>
    static readonly string[] NothingToUndo =
    [
        PostgresErrorCodes.UndefinedTable, PostgresErrorCodes.UndefinedColumn,
            PostgresErrorCodes.UndefinedObject, PostgresErrorCodes.UndefinedFunction,
        PostgresErrorCodes.InvalidSchemaName, PostgresErrorCodes.DuplicateTable,
            PostgresErrorCodes.DuplicateColumn, PostgresErrorCodes.DuplicateObject,
        PostgresErrorCodes.DuplicateFunction, PostgresErrorCodes.DuplicateSchema,
    ];

    public MigrationRules Rules { get; init; } = MigrationRules.Default;

    /// <summary>The interrupted script, or null when there is none.</summary>
    public Task<Interrupted?> LookAsync(CancellationToken cancel) => Migrator.ExplainedAsync(db, async () =>
    {
        await using var session = await MigrationSession.OpenAsync(db, Rules, log, cancel);
        return await LookAsync(session, await session.PeekAsync(cancel), cancel);
    });

    /// <summary>Runs the remaining statements, in the script's own direction; returns the script.</summary>
    /// <exception cref="ProblemException">NotFound: nothing is interrupted. Conflict: see <see
    /// cref="Stepwise.RunAsync"/>.</exception>
    public Task<Migration> ResumeAsync(CancellationToken cancel) => WithAsync(async (session, state, interrupted) =>
    {
        if (interrupted.Script.Transactional)
            throw new ProblemException(ProblemKind.Conflict,
                $"{interrupted.Script.Name} was started without a transaction and now has one; undo what ran: "
                + "capsul db repair --roll-back.");
        await Migrator.RunAsync(session, interrupted.Script, state.Unfinished, log, cancel);
        return interrupted.Script;
    }, cancel);

    /// <summary>Marks the outcome of the statement in doubt; returns it.</summary>
    public Task<RepairLine> MarkAsync(bool done, CancellationToken cancel) =>
        WithAsync(async (session, _, interrupted) =>
    {
        var open = interrupted.Lines.FirstOrDefault(l => l.Outcome is "running" or "failed")
            ?? throw new ProblemException(ProblemKind.NotFound,
                $"No statement of {interrupted.Script.Name} is in doubt; continue with capsul db repair --resume.");
        await session.ExecuteAsync(done
            ? Stepwise.Ended(interrupted.Script, open.Ordinal, "done", "marked by an operator")
            : Forget(interrupted.Script, open.Ordinal), cancel);
        return open;
    }, cancel);

    /// <summary>
    /// Runs the whole script for the opposite direction, statement by statement, and ignores what does not exist. If
    /// every statement succeeds, nothing is interrupted anymore; otherwise it can be run again.
    /// </summary>
    public Task<IReadOnlyList<UndoLine>> RollBackAsync(CancellationToken cancel) =>
        WithAsync<IReadOnlyList<UndoLine>>(async (session, _, interrupted) =>
    {
        var script = interrupted.Script;
        var undo = (script.Up ? Rules.Scripts.Down(script.Version) : Rules.Scripts.Up(script.Version))
            ?? throw new ProblemException(ProblemKind.Conflict,
                $"{script.Name} has no script for the opposite direction. Resume it, or undo what ran "
                + "manually and mark it.");
        MigrationSession.RefuseTransactionStatements(undo);
        var lines = new List<UndoLine>();
        foreach (var statement in undo.Statements)
        {
            var (said, good) = await UndoAsync(session, undo, statement, cancel);
            lines.Add(new UndoLine(statement.Line, statement.Text, said, good));
        }
        if (lines.TrueForAll(l => l.Good))
            await session.ExecuteAsync(MigrationSession.Make(MigratorSql.ForgetStatements,
            ("version", script.Version), ("up", script.Up)), cancel);
        return lines;
    }, cancel);

    static async Task<(string Said, bool Good)> UndoAsync(
        MigrationSession session, Migration undo, Text.SqlStatement statement, CancellationToken cancel)
    {
        try
        {
            var what = $"Line {statement.Line} of {undo.Name}";
            if (Effects.RunsAlone(statement.Text))
                await session.RunAloneAsync(what, statement.Text, () => Task.CompletedTask, cancel);
            else await session.RunWithAsync(what, statement.Text, null, cancel);
            return ("undone", true);
        }
        catch (PostgresException error) when (NothingToUndo.Contains(error.SqlState, StringComparer.Ordinal))
        {
            return ("was not there", true);
        }
        catch (PostgresException error)
        {
            return ($"failed: {error.MessageText}", false);
        }
    }

    static NpgsqlBatchCommand Forget(Migration script, int ordinal) =>
        MigrationSession.Make(MigratorSql.ForgetStatement, ("version", script.Version),
            ("up", script.Up), ("ordinal", ordinal));

    Task<T> WithAsync<T>(Func<MigrationSession, MigrationState, Interrupted, Task<T>> work, CancellationToken cancel) =>
        Migrator.ExplainedAsync(db, async () =>
    {
        await using var session = await MigrationSession.OpenAsync(db, Rules, log, cancel);
        await session.LockAsync(cancel);
        var state = await session.StateAsync(cancel);
        var interrupted = await LookAsync(session, state, cancel)
            ?? throw new ProblemException(ProblemKind.NotFound,
            "No script was interrupted; there is nothing to repair.");
        return await work(session, state, interrupted);
    });

    async Task<Interrupted?> LookAsync(MigrationSession session, MigrationState state, CancellationToken cancel)
    {
        state.RefuseNewer(Rules.Scripts);
        if (state.Unfinished is not [var first, ..]) return null;
        var script = (first.Up ? Rules.Scripts.Up(first.Version) : Rules.Scripts.Down(first.Version))
            ?? throw new ProblemException(ProblemKind.Conflict,
                $"The downgrade from schema version {first.Version} was interrupted, and this program has no script "
                + "for it.");
        var lines = new List<RepairLine>();
        for (var n = 1; n <= Math.Max(script.Statements.Count, state.Unfinished.Max(s => s.Ordinal)); n++)
        {
            var statement = script.Statements.ElementAtOrDefault(n - 1);
            var known = state.Unfinished.FirstOrDefault(s => s.Ordinal == n);
            Effect? effect = known is null or { Outcome: "done" } ? null
                : await Effects.OfAsync(session.Work, known, cancel);
            lines.Add(new RepairLine(n, statement?.Line ?? 0, known?.Statement
                ?? statement!.Text, known?.Outcome ?? "not run", effect, known?.Started, known?.Problem ?? ""));
        }
        return new Interrupted(script, lines);
    }
}
