using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// VMs that no operation will ever finish, because its row is gone; and what deleted VMs left behind. Nothing here
/// should ever be needed, so each repair raises an alert.
/// </summary>
public static class RepairVm
{
    /// <summary>How many VMs in one transaction.</summary>
    public const int Batch = 100;

    /// <summary>
    /// The operation that leads out of a state: its kind, first step, wanted state (null: as it is) and time limit.
    /// </summary>
    static (string Kind, string Step, string? Wanted, TimeSpan Limit) WayOut(
        string state, bool isForeign, string rescue, Settings settings)
    {
        if (state == "restarting" && rescue.Length > 0)
            return rescue == "ending"
                ? (EndRescue.OperationName, EndRescueOperation.Boot, "on",
                    VmActions.Restart.Deadline(settings.StopGrace))
                : (RescueVm.OperationName, RescueVmOperation.Boot, "on",
                    settings.StopGrace + CreateVm.BuildLimit(settings, isEmulated: true));
        if (state == "creating")
            return isForeign
                ? (AdoptVm.OperationName, CreateVmOperation.Start, "on", settings.CreateDeadline)
                : (CreateVm.OperationName, CreateVmOperation.Queue, "on",
                    CreateVmOperation.QueueLimit + settings.CreateDeadline);
        if (state == "reinstalling")
            return (ReinstallVm.OperationName, ReinstallVmOperation.Renew, "on",
                CreateVm.BuildLimit(settings, isEmulated: true));
        if (state == "moving") return (MoveVm.OperationName, MoveVmOperation.Stop, null, MoveVm.BaseLimit);
        var action = VmActions.All.First(a => a.Via == state);
        return (action.Operation, PowerOperation.Power, action.Wanted, action.Deadline(settings.StopGrace));
    }

    /// <summary>
    /// Starts the operation of VMs that are between two states without one: a batch, or those named. VMs that somebody
    /// has locked are skipped. Returns how many there were.
    /// </summary>
    public static async Task<int> StartLostAsync(NpgsqlTransaction transaction, string[]? ids,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var vms = await transaction.ListAsync<HalfMadeRow>(
            VmRepairSql.HalfMade, new { ids, limit = ids?.Length ?? Batch }, cancel);
        if (vms.Count == 0) return 0;
        var now = time.GetUtcNow().UtcDateTime;
        var ways = vms.Select(v => WayOut(v.State, v.IsForeign, v.Rescue, settings)).ToList();
        foreach (var (vm, way) in vms.Zip(ways).Where(p => (p.Second.Wanted ?? p.First.Wanted) != p.First.Wanted))
            await transaction.WantAsync(vm.Id, vm.Host, vm.State, way.Wanted!, cancel);
        await transaction.ExecuteAsync(OperationSql.StartMany, new
        {
            vms = vms.Select(v => v.Id).ToArray(),
            emails = vms.Select(v => v.Email).ToArray(),
            kinds = ways.Select(w => w.Kind).ToArray(),
            steps = ways.Select(w => w.Step).ToArray(),
            deadlines = ways.Select(w => now + w.Limit).ToArray(),
            now,
            message = "The record of what was going on was lost; it is done again",
        }, cancel);
        await RaiseAlert.ManyAsync(transaction, settings,
            [.. vms.Select(v => new NewAlert(RaiseAlert.OperationLost, v.Id,
                $"{v.Id} was {v.State} without an operation; another one was started. Somebody or something deleted "
                + "rows of the table operations."))], time, cancel);
        return vms.Count;
    }

    /// <summary>
    /// Frees addresses of deleted VMs that were reported gone, and ends charges of deleted VMs at their deletion.
    /// Returns how many VMs.
    /// </summary>
    public static async Task<int> CloseAsync(
        NpgsqlTransaction transaction, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var limit = new { limit = Batch };
        var charged = (await transaction.ListAsync<string>(VmRepairSql.DeletedButCharged, limit, cancel))
            .Distinct(StringComparer.Ordinal).ToArray();
        var held = (await transaction.ListAsync<string>(VmRepairSql.DeletedButHeld, limit, cancel))
            .Distinct(StringComparer.Ordinal).ToArray();
        if (charged.Length + held.Length == 0) return 0;
        await transaction.ExecuteAsync(AddressSql.FreeMany,
            new { ids = held, now = time.GetUtcNow().UtcDateTime }, cancel);
        await transaction.ExecuteAsync(VmRepairSql.CloseDeleted, new { ids = charged }, cancel);
        await RaiseAlert.ManyAsync(transaction, settings,
        [
            .. held.Select(id => new NewAlert(RaiseAlert.AddressNotFreed, id,
                $"{id} was deleted and reported gone, but still had its address. It is free now.")),
            .. charged.Select(id => new NewAlert(RaiseAlert.UsageNotClosed, id,
                $"{id} was deleted, but still charged. The charge now ends when it was deleted.")),
        ], time, cancel);
        return held.Length + charged.Length;
    }
}
