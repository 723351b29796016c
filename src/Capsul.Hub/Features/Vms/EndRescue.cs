using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>Ends the rescue of a VM: it is started from its own disk, and the rescue system is removed.</summary>
public static class EndRescue
{
    public const string OperationName = "end_rescue";

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(VmRow? vm, bool isBusy) => vm switch
    {
        null or { Deleted: not null } => VmAction.NotFound,
        { InRescue: false } => Conflict("This capsul is not in rescue."),
        _ when isBusy => Conflict("Something else is still being done to this capsul. Wait until it has finished."),
        { State: not ("running" or "stopped") } => Conflict($"This capsul is {vm.State}. Wait until that has ended."),
        _ => null,
    };

    static Problem Conflict(string sentence) => new(ProblemKind.Conflict, sentence);

    /// <param name="email">The account that asks; null: an operator.</param>
    /// <returns>The VM's ID.</returns>
    public static Task<Outcome<string>> RunAsync(Db db, string actor, string? email, string id, Settings settings,
        TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
            email is not null && await transaction.FindAsync<bool>(DunningSql.IsStopped, new { email }, cancel)
                ? ChangeVm.NotPaid
                : await InAsync(transaction, actor, email, id, settings, time, cancel), cancel);

    static async Task<Outcome<string>> InAsync(NpgsqlTransaction transaction, string actor, string? email, string id,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var (vm, isBusy) = await RescueVm.LockAsync(transaction, email, id, cancel);
        if (Decide(vm, isBusy) is { } problem) return problem;
        await transaction.ExecuteAsync(RescueSql.BeginEnd, new { vm = id }, cancel);
        await RescueVm.RestartAsync(transaction, vm!, settings, cancel);
        await transaction.StartOperationAsync(OperationName, id, vm!.Email, EndRescueOperation.Boot,
            "Ending the rescue", time.GetUtcNow().UtcDateTime, VmActions.Restart.Deadline(settings.StopGrace), cancel);
        await transaction.AuditAsync(actor, OperationName, id, "", cancel);
        return id;
    }
}
