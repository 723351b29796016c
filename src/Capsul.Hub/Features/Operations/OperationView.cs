using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;

namespace Capsul.Hub.Features.Operations;

/// <summary>A step of an operation as its page shows it.</summary>
/// <param name="Title">What happens in it.</param>
/// <param name="State">done, now, todo or bad: a class of the style sheet.</param>
/// <param name="Word">The same in words.</param>
public sealed record StepView(string Title, string State, string Word);

/// <summary>An operation as its page shows it, to its owner or to an operator.</summary>
/// <param name="Row">The operation.</param>
/// <param name="Kind">Its kind; null for a line of history such as a guest's shutdown.</param>
/// <param name="Events">What it went through.</param>
/// <param name="Owner">The account that looks at it; null: an operator.</param>
/// <param name="Now">The time.</param>
public sealed record OperationView(
    OperationRow Row, OperationKind? Kind, IReadOnlyList<OperationEventRow> Events, string? Owner, DateTime Now)
{
    /// <summary>How far the disk is, if it is a move.</summary>
    public MoveRow? Move { get; init; }

    /// <summary>The last error of a step; empty for owners.</summary>
    public string Detail { get; init; } = "";

    public bool IsOverdue => Row.Finished is null && Row.DeadlineAt < Now;

    public string Title => TitleOf(Row.Kind);

    /// <summary>"create_vm" is "Create vm" for people.</summary>
    public static string TitleOf(string kind) => kind.EndsWith("_vm", StringComparison.Ordinal)
        ? $"{char.ToUpperInvariant(kind[0])}{kind[1..^3]} capsul"
        : $"{char.ToUpperInvariant(kind[0])}{kind[1..].Replace('_', ' ')}";

    /// <summary>Word and color of its status.</summary>
    public (string Word, string Tone) Status => Row switch
    {
        { Status: "done" } => ("done", "good"),
        { Status: "failed" } => ("failed", "bad"),
        { Status: "cancelled" } => ("canceled", "off"),
        { Status: "undoing" } => ("rolling back", "busy"),
        _ when IsOverdue => ("overdue", "bad"),
        _ => ("running", "busy"),
    };

    public IEnumerable<StepView> Steps
    {
        get
        {
            var current = Kind?.Steps.Index().FirstOrDefault(s => s.Item.Name == Row.Step).Index ?? 0;
            foreach (var (index, step) in Kind?.Steps.Index() ?? [])
                yield return index < current || Row.Status == "done" ? new(step.Title, "done", "done")
                    : index > current ? new(step.Title, "todo", Row.Finished is null ? "not yet" : "not reached")
                    : Row.Status == "running" ? new(step.Title, "now", "now")
                    : new(step.Title, "bad", "did not succeed");
        }
    }

    /// <summary>What may be asked now.</summary>
    public IEnumerable<OperationRequest> Requests => OperationRequest.All
        .Where(r => AskOperation.Decide(
            r, Row, (Owner is null ? Kind?.Cancellable : Kind?.OwnerMayCancel) == true, Owner) is null);
}
