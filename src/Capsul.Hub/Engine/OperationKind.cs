using Capsul.Foundation;
using Npgsql;

namespace Capsul.Hub.Engine;

/// <summary>What a step says comes next.</summary>
public abstract record Next
{
    /// <summary>On to another step, at once. With a line for the person who waits.</summary>
    public sealed record GoTo(string Step, string? Message = null) : Next;

    /// <summary>Look again when the subject changes, at the latest after <paramref name="For"/>.</summary>
    public sealed record Wait(TimeSpan For) : Next;

    /// <summary>The end, as wanted.</summary>
    public sealed record Done(string Message) : Next;

    /// <summary>It cannot be done: undo, then end as failed.</summary>
    public sealed record Fail(Problem Problem) : Next;
}

/// <summary>
/// What a step may look at and write: the operation, locked, in one transaction that fences by epoch.
/// </summary>
public sealed record StepContext(OperationRow Operation, NpgsqlTransaction Transaction, DateTime Now);

/// <summary>
/// A kind of operation: named steps, each a transaction of its own. A step only reads and writes PostgreSQL: it says
/// what should be (a VM's wanted state) and waits until that is reported, so that running a step twice, or dying in the
/// middle of it, changes nothing. Undo is written the same way and is retried until it ends. A kind loads its own
/// subject.
/// </summary>
public abstract class OperationKind
{
    /// <summary>Stored in <c>operations.kind</c>; never changes.</summary>
    public abstract string Name { get; }

    /// <summary>Step names in order, with what a person reads while it is under way.</summary>
    public abstract IReadOnlyList<(string Name, string Title)> Steps { get; }

    public abstract Task<Next> RunAsync(StepContext context, CancellationToken cancel);

    /// <summary>Takes back what was done. Done ends the operation as failed (or cancelled).</summary>
    public abstract Task<Next> UndoAsync(StepContext context, CancellationToken cancel);

    /// <summary>The deadline passed while a step was waiting. The usual answer is to fail.</summary>
    public virtual Task<Next> OverdueAsync(StepContext context, CancellationToken cancel) =>
        Task.FromResult<Next>(new Next.Fail(new Problem(ProblemKind.Unavailable, "Timed out.")));

    /// <summary>An operator gives up on the host: end it in the database alone.</summary>
    public abstract Task ForceAsync(StepContext context, CancellationToken cancel);

    /// <summary>Whether its owner may cancel it.</summary>
    public virtual bool Cancellable => false;

    /// <summary>It cannot be rolled back, so it continues past its deadline; an operator may force it.</summary>
    public virtual bool GoesOn => false;
}
