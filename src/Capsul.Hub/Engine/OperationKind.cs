using Capsul.Foundation;
using Npgsql;

namespace Capsul.Hub.Engine;

/// <summary>What a step decides to do next.</summary>
public abstract record Next
{
    /// <summary>
    /// Continue with another step immediately. The message is for the person who waits. A limit gives the operation a
    /// new deadline, that long from now.
    /// </summary>
    public sealed record GoTo(string Step, string? Message = null, TimeSpan? Limit = null) : Next;

    /// <summary>Run this step again when the subject changes, or after <paramref name="For"/> at the latest.</summary>
    public sealed record Wait(TimeSpan For) : Next;

    /// <summary>The operation succeeded.</summary>
    public sealed record Done(string Message) : Next;

    /// <summary>The operation cannot succeed: undo, then end as failed.</summary>
    public sealed record Fail(Problem Problem) : Next;
}

/// <summary>What a step may read and write: the locked operation, in one transaction fenced by the epoch.</summary>
public sealed record StepContext(OperationRow Operation, NpgsqlTransaction Transaction, DateTime Now);

/// <summary>
/// A kind of operation: named steps, each in its own transaction. A step only reads and writes PostgreSQL: it sets a
/// VM's wanted state and waits until that is reported, so that running a step twice, or crashing in the middle of it,
/// does no harm. Undo works the same way and is retried until it completes. A kind loads its own subject.
/// </summary>
public abstract class OperationKind
{
    /// <summary>Stored in <c>operations.kind</c>; never changes.</summary>
    public abstract string Name { get; }

    /// <summary>Step names in order, with the title that people see while the step runs.</summary>
    public abstract IReadOnlyList<(string Name, string Title)> Steps { get; }

    public abstract Task<Next> RunAsync(StepContext context, CancellationToken cancel);

    /// <summary>Rolls back what was done. Done ends the operation as failed (or canceled).</summary>
    public abstract Task<Next> UndoAsync(StepContext context, CancellationToken cancel);

    /// <summary>The deadline passed while a step was waiting. The default is to fail.</summary>
    public virtual Task<Next> OverdueAsync(StepContext context, CancellationToken cancel) =>
        Task.FromResult<Next>(new Next.Fail(new Problem(ProblemKind.Unavailable, "Timed out.")));

    /// <summary>An operator has given up on the host: ends the operation in the database only.</summary>
    public abstract Task ForceAsync(StepContext context, CancellationToken cancel);

    /// <summary>Whether it may be canceled.</summary>
    public virtual bool Cancellable => false;

    /// <summary>Whether the VM's owner may do that, and not only an operator.</summary>
    public virtual bool OwnerMayCancel => Cancellable;

    /// <summary>It cannot be rolled back, so it continues past its deadline; an operator may force it.</summary>
    public virtual bool GoesOn => false;
}
