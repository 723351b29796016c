using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Runs an action of <see cref="VmActions"/>: locks and loads, decides, sets the wanted state, starts an operation,
/// writes an audit line.
/// </summary>
public static class ChangeVm
{
    public static Task<Outcome<string>> RunAsync(
        VmAction action, Db db, string email, string id,
        Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            // In lock order: operation, VM, host.
            await transaction.FindAsync<long?>(OperationSql.LockOpenOf, new { vm = id }, cancel);
            var vm = await transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel);
            if (action.Decide(vm) is { } problem) return problem;
            await transaction.OrderAsync(vm!, action, settings.StopGrace, cancel);
            if (action.Wanted == "gone")
                await transaction.ExecuteAsync(VmSql.CloseUsage, new { ids = new[] { id }, now }, cancel);
            await transaction.StartOperationAsync(action.Operation, id, email, PowerOperation.Power,
                action.Wanted == "gone" ? "Requested. You are no longer charged" : "Requested",
                now, action.Deadline(settings.StopGrace), cancel);
            await transaction.AuditAsync(email, action.Operation, id, "", cancel);
            return id;
        }, cancel);
}
