using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Engine;

/// <summary>
/// Runs operations: takes one that is due, runs one step in one transaction, writes what comes next, commits. The row
/// lock is the lease: it lasts exactly as long as the transaction, and ends with the process or the connection. Every
/// transaction begins by checking the epoch, so that a Hub that has lost the seat writes nothing. A step that throws is
/// retried with exponential backoff (1 s to 1 min) until the operation's deadline, and then the operation is rolled
/// back; an undo that throws is retried indefinitely, and an operator may force its end.
/// </summary>
public sealed partial class Runner(
    Db db, Fence fence, Listener listener, IEnumerable<OperationKind> kinds, TimeProvider time, ILogger<Runner> log)
    : IActingWork
{
    /// <summary>Number of steps that run concurrently.</summary>
    const int Workers = 4;
    static readonly TimeSpan LongestSleep = TimeSpan.FromSeconds(30);
    static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(1);
    const string InternalError = "An internal error prevented this from finishing in time.";
    readonly Dictionary<string, OperationKind> byName = kinds.ToDictionary(k => k.Name, StringComparer.Ordinal);

    public string Name => "The operation runner";

    public IReadOnlyCollection<OperationKind> Kinds => byName.Values;

    /// <summary>Runs until canceled or the seat is lost.</summary>
    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        using var wake = listener.Subscribe(Listener.Operations);
        while (!cancel.IsCancellationRequested)
        {
            await Task.WhenAll(Enumerable.Range(0, Workers).Select(_ => DrainAsync(epoch, cancel)));
            var due = await db.FindAsync<DateTime?>(OperationSql.NextDue, null, cancel);
            var sleep = due is { } at ? at - Now() : LongestSleep;
            await wake.WaitAsync(
                sleep < TimeSpan.Zero ? TimeSpan.Zero : sleep > LongestSleep ? LongestSleep : sleep, cancel);
        }
    }

    async Task DrainAsync(long epoch, CancellationToken cancel)
    {
        while (await RunOneAsync(epoch, cancel)) { }
    }

    /// <summary>Runs one step of one operation that is due; false when there is none.</summary>
    /// <exception cref="SeatLostException">The epoch is no longer in force.</exception>
    public async Task<bool> RunOneAsync(long epoch, CancellationToken cancel)
    {
        OperationRow? operation = null;
        try
        {
            return await fence.InTransactionAsync(epoch, async transaction =>
            {
                operation = await transaction.FindAsync<OperationRow>(OperationSql.Take, new { now = Now() }, cancel);
                if (operation is null) return false;
                await StepAsync(operation, transaction, cancel);
                return true;
            }, cancel);
        }
        catch (Exception error)
            when (operation is not null && error is not SeatLostException && !cancel.IsCancellationRequested)
        {
            Log.StepThrew(log, operation.Kind, operation.Id, operation.Step, error);
            await PostponeAsync(operation, error, epoch, cancel);
            return true;
        }
    }

    Task PostponeAsync(OperationRow operation, Exception error, long epoch, CancellationToken cancel)
    {
        var now = Now();
        if (operation.Status == "running" && now >= operation.DeadlineAt && !byName[operation.Kind].GoesOn)
            return fence.ExecuteAsync(epoch, OperationSql.GiveUp,
                new { id = operation.Id, now, problem = InternalError, detail = error.ToString() }, cancel);
        var pause = TimeSpan.FromSeconds(Math.Min(Math.Pow(2, operation.Attempt), LongestPause.TotalSeconds));
        var runAt = now + Until(operation, pause, operation.Status == "undoing", now);
        return fence.ExecuteAsync(epoch, OperationSql.Postpone,
            new { id = operation.Id, runAt, detail = error.ToString() }, cancel);
    }

    async Task StepAsync(OperationRow operation, NpgsqlTransaction transaction, CancellationToken cancel)
    {
        var kind = byName[operation.Kind];
        var context = new StepContext(operation, transaction, Now());
        if (operation.Asked == "force")
        {
            await kind.ForceAsync(context, cancel);
            await SaveAsync(context, "failed", operation.Step, TimeSpan.Zero,
                "Ended by an operator.", "Ended by an operator", cancel);
            return;
        }
        var undoing = operation.Status == "undoing";
        var next = undoing ? await kind.UndoAsync(context, cancel)
            : IsCancelled(operation) ? new Next.Fail(new Problem(ProblemKind.Conflict, "Cancelled."))
            : await kind.RunAsync(context, cancel);
        if (next is Next.Wait && !undoing && context.Now >= operation.DeadlineAt)
            next = await kind.OverdueAsync(context, cancel);
        await ApplyAsync(context, next, undoing, cancel);
    }

    bool IsCancelled(OperationRow operation) => operation.Asked == "cancel" && byName[operation.Kind].Cancellable;

    Task ApplyAsync(StepContext context, Next next, bool undoing, CancellationToken cancel)
    {
        var operation = context.Operation;
        var ended = IsCancelled(operation) ? "cancelled" : "failed";
        return next switch
        {
            Next.GoTo on =>
                SaveAsync(context, operation.Status, on.Step, TimeSpan.Zero, operation.Problem, on.Message, cancel,
                    deadlineAt: context.Now + on.Limit),
            Next.Wait wait => SaveAsync(context, operation.Status, operation.Step,
                Until(operation, wait.For, undoing, context.Now), operation.Problem, null, cancel),
            Next.Done done when undoing =>
                SaveAsync(context, ended, operation.Step, TimeSpan.Zero, operation.Problem, done.Message, cancel),
            Next.Done done => SaveAsync(context, "done", operation.Step, TimeSpan.Zero, "", done.Message, cancel),
            Next.Fail fail => SaveAsync(context, "undoing", operation.Step, TimeSpan.Zero,
                fail.Problem.Message, fail.Problem.Message, cancel, fail.Problem.Detail),
            _ => throw new InvalidOperationException($"A step returned {next}."),
        };
    }

    /// <summary>A wait never extends past the deadline, so that the deadline is exact.</summary>
    static TimeSpan Until(OperationRow operation, TimeSpan wait, bool undoing, DateTime now)
    {
        var left = operation.DeadlineAt - now;
        return undoing || left <= TimeSpan.Zero || wait < left ? wait : left;
    }

    static async Task SaveAsync(
        StepContext context, string status, string step, TimeSpan pause, string problem,
        string? message, CancellationToken cancel, string? detail = null, DateTime? deadlineAt = null)
    {
        var (id, now) = (context.Operation.Id, context.Now);
        await context.Transaction.ExecuteAsync(message is null ? OperationSql.Save : OperationSql.SaveAndTell, new
        {
            id,
            now,
            message,
            step,
            status,
            runAt = now + pause,
            attempt = 0,
            finished = status is "done" or "failed" or "cancelled" ? now : (DateTime?)null,
            problem,
            detail = detail ?? "",
            deadlineAt,
        }, cancel);
    }

    DateTime Now() => time.GetUtcNow().UtcDateTime;

    static partial class Log
    {
        [LoggerMessage(210, LogLevel.Error, "Operation {Kind} {Id}: step {Step} failed; retrying")]
        public static partial void StepThrew(ILogger log, string kind, long id, string step, Exception error);
    }
}
