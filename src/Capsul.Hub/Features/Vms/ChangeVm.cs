using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Runs an action of <see cref="VmActions"/>: locks and loads, decides, sets the wanted state, starts an operation,
/// writes an audit line.
/// </summary>
public static class ChangeVm
{
    internal static readonly Problem NotPaid = new(ProblemKind.InsufficientFunds,
        "Your capsuls are stopped because your balance is used up. Add money, and they start again by themselves.");

    /// <summary>Requested by the owner.</summary>
    public static Task<Outcome<string>> RunAsync(
        VmAction action, Db db, string email, string id,
        Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
            action.Wanted == "on" && await transaction.FindAsync<bool>(DunningSql.IsStopped, new { email }, cancel)
                ? NotPaid
                : await InAsync(transaction, action, email, id, email, "Requested", settings, time, cancel), cancel);

    /// <summary>In the caller's transaction. If it is refused, nothing is written.</summary>
    /// <param name="transaction">The caller's.</param>
    /// <param name="action">What is to be done.</param>
    /// <param name="email">The owner.</param>
    /// <param name="id">The VM.</param>
    /// <param name="actor">Who did it, for the audit line.</param>
    /// <param name="reason">Why; the first line of the operation.</param>
    /// <param name="settings">With the time that a guest has to shut down.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancel">Cancels.</param>
    public static async Task<Outcome<string>> InAsync(NpgsqlTransaction transaction, VmAction action, string email,
        string id, string actor, string reason, Settings settings, TimeProvider time, CancellationToken cancel)
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
            action.Wanted == "gone" ? $"{reason}. You are no longer charged" : reason,
            now, action.Deadline(settings.StopGrace), cancel);
        await transaction.AuditAsync(actor, action.Operation, id, "", cancel);
        return id;
    }
}
