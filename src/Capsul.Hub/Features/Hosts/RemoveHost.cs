using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Pools;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Hosts;

/// <summary>
/// Removes a host for good: its certificate is revoked, its addresses and images go, its name may be invited again. A
/// host with VMs is refused, unless the operator says that the machine will never come back: then its VMs are lost, and
/// nobody pays for them from the host's last report on. A VM that is on the machine after all is wanted gone: if the
/// same machine is invited again under this name, it is removed there.
/// </summary>
public static class RemoveHost
{
    /// <param name="host">The host, or null.</param>
    /// <param name="name">Its name.</param>
    /// <param name="vms">How many living VMs are on it.</param>
    /// <param name="force">The machine will never come back.</param>
    public static Problem? Decide(HostStateRow? host, string name, int vms, bool force) => host switch
    {
        null or { State: "removed" } => DrainHost.NotFound(name),
        _ when vms == 0 => null,
        _ when !force => new(ProblemKind.Conflict,
            $"{name} has {Show.Count(vms, "capsul", "capsuls")}. Delete them first, or, if the machine will never come "
            + $"back, force it: they are lost then (capsul host remove {name} --force --reason TEXT)."),
        { Online: true } => new(ProblemKind.Conflict,
            $"{name} is online, so its capsuls are not lost. Delete them, or stop its Spoke first."),
        _ => null,
    };

    static Problem Moving(string name, int moves) => new(ProblemKind.Conflict,
        $"{Show.Count(moves, "capsul is", "capsuls are")} being moved from or to {name}. Cancel or force that first "
        + "(capsul operation list).");

    /// <summary>Returns how many VMs were lost.</summary>
    public static Task<Outcome<int>> RunAsync(Db db, string actor, string name, bool force,
        string? reason, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            // In lock order: operations, VMs, host.
            var open = await transaction.ListAsync<long>(OperationSql.LockOpenOnHost, new { host = name }, cancel);
            var vms = (await transaction.ListAsync<string>(VmRepairSql.LockLiving, new { host = name }, cancel))
                .ToArray();
            var host = await transaction.FindAsync<HostStateRow>(HostChangeSql.Lock, new { id = name }, cancel);
            if (Decide(host, name, vms.Length, force) is { } problem) return problem;
            if (await transaction.FindAsync<int>(MoveSql.CountOpen, new { host = name }, cancel) is > 0 and var moves)
                return Moving(name, moves);
            // Whoever places a VM has the host locked: now there can be no more.
            if (await transaction.FindAsync<int>(VmRepairSql.CountLiving, new { host = name }, cancel) != vms.Length)
                return new Problem(ProblemKind.Conflict, $"A capsul has just been created on {name}. Try again.");
            var why = "";
            if (vms.Length > 0 || !string.IsNullOrWhiteSpace(reason))
            {
                if (Reason.Parse(reason).Refused(out var unclear, out var given)) return unclear;
                why = given;
            }
            var now = time.GetUtcNow().UtcDateTime;
            var returned = vms.Length == 0 ? [] : await ReturnVms.RunAsync(transaction, name, actor, cancel);
            vms = [.. vms.Except(returned, StringComparer.Ordinal)];
            await LoseAsync(transaction, host!, [.. open], vms, now, cancel);
            await EndAsync(transaction, name, now, cancel);
            await transaction.AuditAsync(actor, "remove_host", name,
                vms.Length == 0 ? why : $"{Show.Count(vms.Length, "capsul", "capsuls")} lost: {why}", cancel);
            return vms.Length;
        }, cancel);

    static async Task LoseAsync(NpgsqlTransaction transaction, HostStateRow host, long[] open, string[] ids,
        DateTime now, CancellationToken cancel)
    {
        var problem = $"Host {host.Id} is lost, and this capsul and its disk with it. You were charged until "
            + $"{(host.LastSeen is { } at ? Show.Time(at) : "it was lost")}.";
        await transaction.ExecuteAsync(OperationSql.EndAll, new { ids = open, now, problem }, cancel);
        if (ids.Length == 0) return;
        await transaction.ExecuteAsync(
            OperationSql.RecordFailed, new { kind = "host_removed", vms = ids, now, problem }, cancel);
        await transaction.ExecuteAsync(VmSql.CloseUsage, new { ids, now = host.LastSeen ?? now }, cancel);
        var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host = host.Id }, cancel);
        await transaction.ExecuteAsync(VmRepairSql.Lose, new { ids, now, generation, problem }, cancel);
    }

    static async Task EndAsync(NpgsqlTransaction transaction, string name, DateTime now, CancellationToken cancel)
    {
        var host = new { id = name, host = name, subject = name, now };
        await transaction.ExecuteAsync(MoveSql.ForgetHost, host, cancel);
        await transaction.ExecuteAsync(AddressSql.DropAll, host, cancel);
        await transaction.ExecuteAsync(PoolSql.Drop, new { host = name, families = Array.Empty<short>() }, cancel);
        await transaction.ExecuteAsync(
            ImageSql.ClearOfHost, new { host = name, images = Array.Empty<string>() }, cancel);
        await transaction.ExecuteAsync(UnknownVmSql.ForgetHost, host, cancel);
        await transaction.ExecuteAsync(ForeignMachineSql.ForgetHost, host, cancel);
        await transaction.ExecuteAsync(HostChangeSql.DropTokens, host, cancel);
        await transaction.ExecuteAsync(AlertSql.ClearSubject, host, cancel);
        await transaction.ExecuteAsync(HostChangeSql.MarkRemoved, host, cancel);
        await transaction.ExecuteAsync(HostChangeSql.DeleteUnused, host, cancel);
    }
}
