using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>Requests that a VM's running operation stop and roll back.</summary>
public static class CancelVm
{
    /// <param name="operation">The open operation of the VM, if any.</param>
    /// <param name="cancellable">Whether its kind can be canceled.</param>
    public static Problem? Decide(OperationRow? operation, string email, bool cancellable) =>
        operation is null || operation.Email != email ? VmAction.NotFound
        : !cancellable || operation.Status != "running" ? TooLate
        : null;

    static readonly Problem TooLate = new(ProblemKind.Conflict, "This can no longer be canceled.");

    public static Task<Outcome<string>> RunAsync(
        Db db, IEnumerable<OperationKind> kinds, string email,
        string id, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var operation = await transaction.FindAsync<OperationRow>(OperationSql.OpenOf, new { vm = id }, cancel);
            var cancellable = kinds.Any(k => k.Name == operation?.Kind && k.OwnerMayCancel);
            if (Decide(operation, email, cancellable) is { } problem) return problem;
            var now = time.GetUtcNow().UtcDateTime;
            if (await transaction.ExecuteAsync(
                OperationSql.Ask, new { id = operation!.Id, asked = "cancel", now }, cancel) == 0)
                return TooLate;
            await transaction.AuditAsync(email, "cancel", id, operation.Kind, cancel);
            return id;
        }, cancel);
}
