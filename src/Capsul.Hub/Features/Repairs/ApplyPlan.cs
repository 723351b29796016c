using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Repairs;

/// <summary>
/// Carries out a plan of <c>capsul fsck</c>, if it is still what would be planned now: in one transaction, with an
/// audit line for each repair. What it does is what the Hub does anyway; each statement checks its condition again.
/// </summary>
public static class ApplyPlan
{
    /// <summary>The refusal, or null.</summary>
    /// <param name="plan">As it would be made now.</param>
    /// <param name="id">The plan that is to be carried out.</param>
    public static Problem? Decide(RepairPlan plan, string id) =>
        plan.Id != id ? new(ProblemKind.Conflict,
            $"The findings are no longer those of plan {id}. Look at the new ones first: capsul fsck")
        : plan.Count(RepairAction.None) == plan.Lines.Count ? new(ProblemKind.Conflict,
            "There is nothing in this plan that can be carried out: each of its findings needs a person.")
        : null;

    public static Task<Outcome<RepairPlan>> RunAsync(Db db, string actor, string? host, string id,
        Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<RepairPlan>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var plan = await RepairPlan.MakeAsync(transaction, host, now, cancel);
            if (Decide(plan, id) is { } problem) return problem;
            var repairs = plan.Lines.Where(l => l.Action == RepairAction.Repair).Select(l => l.Finding)
                .ToLookup(f => f.Kind, f => f.Subject, StringComparer.Ordinal);
            await RepairAsync(transaction, kind => [.. repairs[kind]], settings, time, cancel);
            await MarkAsync(transaction, RepairSql.Quarantine, plan, RepairAction.Quarantine, now, cancel);
            await MarkAsync(transaction, RepairSql.Release, plan, RepairAction.Repair, now, cancel);
            foreach (var line in plan.Lines.Where(l => l.Action != RepairAction.None))
                await transaction.AuditAsync(actor,
                    line.Action == RepairAction.Repair ? "fsck_repair" : "fsck_quarantine",
                    line.Finding.Subject, $"plan {id}: {line.Says}", cancel);
            return plan;
        }, cancel);

    /// <summary>In lock order: operations, VMs, hosts, addresses, usage spans.</summary>
    static async Task RepairAsync(NpgsqlTransaction transaction, Func<string, string[]> of,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        foreach (var operation in of("operation_of_deleted"))
            await transaction.ExecuteAsync(OperationSql.Ask,
                new { id = long.Parse(operation, CultureInfo.InvariantCulture), asked = "force", now }, cancel);
        string[] vms = [.. of("usage_of_deleted"), .. of("usage_of_unknown"), .. of("usage_missing"),
            .. of("address_reserved"), .. of("operation_missing")];
        await transaction.ListAsync<string>(VmRepairSql.LockThese, new { ids = vms }, cancel);
        if (of("operation_missing") is { Length: > 0 } lost)
            await RepairVm.StartLostAsync(transaction, lost, settings, time, cancel);
        await transaction.ExecuteAsync(HostChangeSql.RaiseGeneration, new { ids = of("generation_behind") }, cancel);
        await transaction.ExecuteAsync(AddressSql.FreeMany, new { ids = of("address_reserved"), now }, cancel);
        await transaction.ExecuteAsync(VmRepairSql.CloseDeleted, new { ids = of("usage_of_deleted") }, cancel);
        await transaction.ExecuteAsync(VmRepairSql.CloseUnknown, new { ids = of("usage_of_unknown"), now }, cancel);
        await transaction.ExecuteAsync(VmSql.OpenUsage, new { ids = of("usage_missing"), now }, cancel);
    }

    static Task MarkAsync(NpgsqlTransaction transaction, string sql, RepairPlan plan, RepairAction action,
        DateTime now, CancellationToken cancel)
    {
        var lines = plan.Lines.Where(l => l.Action == action).ToList();
        return transaction.ExecuteAsync(sql, new
        {
            kinds = lines.Select(l => l.Finding.Kind).ToArray(),
            subjects = lines.Select(l => l.Finding.Subject).ToArray(),
            plan = plan.Id,
            now,
        }, cancel);
    }
}
