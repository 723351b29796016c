using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>Takes a VM away for good. The charge ends with the request, not with the last byte.</summary>
public static class DeleteVm
{
    public const string OperationName = "delete_vm";

    /// <summary>Past this an operator sees it as overdue; it goes on trying.</summary>
    static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    public static Problem? Decide(VmRow? vm) => vm switch
    {
        null or { Deleted: not null } => Vms.NotFound,
        { State: "deleting" } => new(ProblemKind.Conflict, "This capsul is already being deleted."),
        { State: "creating" } => new(ProblemKind.Conflict, "This capsul is still being made; cancel that first."),
        _ => null,
    };

    public static Task<Outcome<string>> RunAsync(Db db, string email, string id, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var vm = await transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel);
            if (Decide(vm) is { } problem) return problem;
            await transaction.WantAsync(vm!, "deleting", "gone", 0, TimeSpan.Zero, cancel);
            await transaction.ExecuteAsync(VmSql.CloseUsage, new { id, now }, cancel);
            await transaction.StartOperationAsync(OperationName, id, email, DeleteVmOperation.Remove, "Accepted; nothing more is charged", now, Limit, cancel);
            await transaction.AuditAsync(email, OperationName, id, "", cancel);
            return id;
        }, cancel);
}
