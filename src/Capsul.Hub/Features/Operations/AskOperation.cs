using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Operations;

/// <summary>What a person may ask of a running operation.</summary>
/// <param name="Name">The handler on its page, and the verb of the command line.</param>
/// <param name="Asked">Stored in <c>operations.asked</c>; null: only runs the next step now.</param>
/// <param name="Button">Label of its button.</param>
/// <param name="ForOperators">Owners may not.</param>
public sealed record OperationRequest(string Name, string? Asked, string Button, bool ForOperators = false)
{
    public static readonly OperationRequest Retry = new("retry", null, "Retry now"),
        Cancel = new("cancel", "cancel", "Cancel"), Force = new("force", "force", "Force", ForOperators: true);

    public static readonly IReadOnlyList<OperationRequest> All = [Retry, Cancel, Force];
}

/// <summary>
/// Retry, cancel or force an operation: by its owner on the VM's page, by an operator there or on the command line. A
/// reason is kept in the audit line and in the operation's events.
/// </summary>
public static class AskOperation
{
    public static readonly Problem NotFound = new(ProblemKind.NotFound, "There is no such operation.");

    /// <summary>The refusal, or null.</summary>
    /// <param name="request">What is asked.</param>
    /// <param name="operation">The operation, or null.</param>
    /// <param name="cancellable">Whether its kind can be canceled.</param>
    /// <param name="owner">The account that asks; null: an operator.</param>
    public static Problem? Decide(OperationRequest request, OperationRow? operation, bool cancellable, string? owner) =>
        operation is null || (owner is not null && (operation.Email != owner || request.ForOperators)) ? NotFound
        : operation.Finished is not null ? new(ProblemKind.Conflict, "This operation has already ended.")
        : operation.Asked == "force" ? new(ProblemKind.Conflict, "An operator is already ending this operation.")
        : request.Asked != "cancel" ? null
        : !cancellable ? new(ProblemKind.Conflict, "An operation of this kind cannot be canceled.")
        : operation.Status != "running" || operation.Asked is not null ? new(ProblemKind.Conflict,
            "This can no longer be canceled: it is already being rolled back.")
        : null;

    /// <summary>Returns the operation's number.</summary>
    /// <param name="request">What is asked.</param>
    /// <param name="actor">For the audit line.</param>
    /// <param name="owner">The account that asks; null: an operator.</param>
    /// <param name="id">The operation.</param>
    /// <param name="reason">Required to force.</param>
    public static Task<Outcome<long>> RunAsync(OperationRequest request, Db db, IEnumerable<OperationKind> kinds,
        string actor, string? owner, long id, string? reason, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var operation = await transaction.FindAsync<OperationRow>(OperationSql.Lock, new { id }, cancel);
            var cancellable = kinds.Any(k => k.Name == operation?.Kind
                && (owner is null ? k.Cancellable : k.OwnerMayCancel));
            if (Decide(request, operation, cancellable, owner) is { } problem) return problem;
            var why = "";
            if (request == OperationRequest.Force || !string.IsNullOrWhiteSpace(reason))
            {
                if (Reason.Parse(reason).Refused(out var unclear, out var given)) return unclear;
                why = given;
            }
            await transaction.ExecuteAsync(OperationSql.Ask, new { id, asked = request.Asked, now }, cancel);
            await transaction.ExecuteAsync(OperationSql.AddEvent, new
            {
                id,
                now,
                step = operation!.Step,
                message = $"{request.Button} requested{(owner is null ? " by an operator" : "")}"
                    + (why.Length > 0 ? $": {why}" : ""),
            }, cancel);
            await transaction.AuditAsync(actor, $"operation_{request.Name}",
                id.ToString(CultureInfo.InvariantCulture), why, cancel);
            return id;
        }, cancel);
}
