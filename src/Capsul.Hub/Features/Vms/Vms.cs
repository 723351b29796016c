using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>What the use cases on one VM share: a locked load, a decision, the wanted state, an operation.</summary>
public static class Vms
{
    public static readonly Problem NotFound = new(ProblemKind.NotFound, "There is no such capsul.");

    /// <summary>What a change of power begins with.</summary>
    /// <param name="Operation">Name of the operation kind, and of the audit line.</param>
    /// <param name="State">What the owner sees while it is under way.</param>
    /// <param name="Wanted">"on" or "off".</param>
    /// <param name="Restarts">1 for a restart.</param>
    /// <param name="Grace">How long the guest may take to shut down.</param>
    /// <param name="Limit">Deadline of the operation, from now.</param>
    public sealed record Change(string Operation, string State, string Wanted, int Restarts, TimeSpan Grace, TimeSpan Limit);

    public static Task<Outcome<string>> ChangeAsync(
        Db db, string email, string id, Change change, Func<VmRow?, Problem?> decide, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            await transaction.FindAsync<long?>(OperationSql.LockOpenOf, new { vm = id }, cancel);
            var vm = await transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel);
            if (decide(vm) is { } problem) return problem;
            await transaction.WantAsync(vm!, change.State, change.Wanted, change.Restarts, change.Grace, cancel);
            await transaction.StartOperationAsync(change.Operation, id, email, PowerOperation.Power, "Accepted", now, change.Limit, cancel);
            await transaction.AuditAsync(email, change.Operation, id, "", cancel);
            return id;
        }, cancel);

    /// <summary>The common refusals, then <paramref name="from"/>, the only state in which it can be done.</summary>
    public static Problem? Decide(VmRow? vm, string from, string refusal) => vm switch
    {
        null or { Deleted: not null } => NotFound,
        _ when vm.State == from => null,
        _ => new Problem(ProblemKind.Conflict, refusal),
    };

    /// <summary>Asks a running operation of this VM to stop and to undo what it did.</summary>
    public static Task<Outcome<string>> CancelAsync(Db db, string email, string id, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var operation = await transaction.FindAsync<OperationRow>(OperationSql.OpenOf, new { vm = id }, cancel);
            if (operation is null || operation.Email != email) return NotFound;
            if (operation.Kind != CreateVm.OperationName || operation.Status != "running")
                return new Problem(ProblemKind.Conflict, "This cannot be cancelled any more.");
            await transaction.ExecuteAsync(OperationSql.Ask, new { id = operation.Id, asked = "cancel", now = time.GetUtcNow().UtcDateTime }, cancel);
            await transaction.AuditAsync(email, "cancel", id, operation.Kind, cancel);
            return id;
        }, cancel);
}
