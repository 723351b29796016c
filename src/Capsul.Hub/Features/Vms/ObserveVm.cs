using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>A Spoke's validated report on one VM. Every value is in range; texts are plain; keys are valid.</summary>
public sealed record VmObservation(
    string Id, Power Power, Phase Phase, long Epoch, long Generation, int Restarts, string SshHost, int SshPort,
    IReadOnlyList<SshKey> HostKeys, string Problem, bool ProblemFinal, string ConsoleTail, bool StoppedItself,
    bool DiskLost);

/// <summary>
/// Processes a Spoke's report on a VM: the observed state, the lines that the waiting person sees, and whether time is
/// charged. A report changes nothing if it is about a VM of another host, is older than one already processed, or
/// answers another epoch or a generation that was never sent. Locks in the usual order (ARCHITECTURE.md, "Locks"):
/// operation, VM, host.
/// </summary>
public static class ObserveVm
{
    /// <summary>The line that people see when a phase is reached.</summary>
    static string Title(Phase phase) => phase switch
    {
        Phase.Disk => "Disk created",
        Phase.Defined => "VM configured",
        Phase.Started => "Started",
        Phase.Booting => "Booting",
        Phase.Ssh => "SSH answers",
        Phase.Ready => "Host key verified",
        _ => "",
    };

    /// <summary>
    /// Null: the VM is not on this host (or does not exist). Otherwise whether the report was accepted.
    /// </summary>
    public static async Task<bool?> RunAsync(
        NpgsqlTransaction transaction, string host, VmObservation report,
        long epoch, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var operation = await transaction.FindAsync<long?>(
            OperationSql.WakeFromHost, new { vm = report.Id, host, now }, cancel);
        var vm = await transaction.FindAsync<VmRow>(VmSql.LockAny, new { id = report.Id }, cancel);
        if (vm is null || vm.Host != host) return null;
        if (vm is { Deleted: not null, Observed: "gone" } && report.Power is Power.On or Power.Off)
            return await RemoveAgainAsync(transaction, vm, settings, time, cancel);
        if (report.Epoch != epoch || report.Generation < vm.ObservedGeneration
            || report.Generation > vm.WantedGeneration)
            return false;
        var isAnswer = report.Generation == vm.WantedGeneration;
        if (operation is { } id && isAnswer)
            await AddPhasesAsync(transaction, id, (Phase)vm.Phase, report.Phase, now, cancel);
        var stopped = operation is null && isAnswer && report.StoppedItself && vm is { Wanted: "on", State: "running" };
        // In lock order: the account's totals, which the next statement changes, come after the host.
        if (stopped) await transaction.FindAsync<string>(PlaceSql.Lock, new { host }, cancel);
        await SaveAsync(transaction, vm, report, isAnswer, now, cancel);
        await ChargeAsync(transaction, vm, report, now, cancel);
        if (report.Power == Power.Gone && vm.Deleted is not null)
            await transaction.ExecuteAsync(AddressSql.Free, new { id = vm.Id, now }, cancel);
        if (report.DiskLost)
            await RaiseAlert.InAsync(transaction, settings, RaiseAlert.DiskLost,
                vm.Id, $"The disk of {vm.Id} is no longer on {host}.", time, cancel);
        if (stopped) await StoppedItselfAsync(transaction, vm, now, cancel);
        return true;
    }

    /// <summary>
    /// The VM was reported gone, and its address may have been reassigned; yet it exists (the hypervisor was wrong, or
    /// a folder was copied back). It is removed again, and an alert is raised.
    /// </summary>
    static async Task<bool> RemoveAgainAsync(
        NpgsqlTransaction transaction, VmRow vm, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        await transaction.WantAsync(vm, vm.State, "gone", cancel);
        await transaction.ExecuteAsync(ObserveVmSql.NotGone, new { id = vm.Id }, cancel);
        await RaiseAlert.InAsync(transaction, settings, RaiseAlert.DeletedVmPresent, vm.Id,
            $"{vm.Id} was deleted and reported gone, but {vm.Host} still has it. It is being removed again.",
            time, cancel);
        return true;
    }

    /// <summary>
    /// Sets the wanted state to off and adds a line to the VM's history: nobody clicked, so the page must explain why
    /// it is off.
    /// </summary>
    static async Task StoppedItselfAsync(
        NpgsqlTransaction transaction, VmRow vm, DateTime now, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(
            OperationSql.Record,
            new { kind = "guest_shutdown", vm = vm.Id, vm.Email, now, message = "The guest shut itself down" }, cancel);
        await transaction.WantAsync(vm, "stopped", "off", cancel);
        await transaction.AuditAsync($"host {vm.Host}", "guest_shutdown", vm.Id, "", cancel);
    }

    /// <summary>Each line once per operation, even when the Spoke has to start over.</summary>
    static async Task AddPhasesAsync(
        NpgsqlTransaction transaction, long operation, Phase from, Phase to, DateTime now, CancellationToken cancel)
    {
        for (var phase = from + 1; phase <= to; phase++)
            await transaction.ExecuteAsync(
                OperationSql.AddEventOnce, new { id = operation, now, step = "phase", message = Title(phase) }, cancel);
    }

    static async Task SaveAsync(NpgsqlTransaction transaction, VmRow vm,
        VmObservation report, bool isAnswer, DateTime now, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(ObserveVmSql.Observe, new
        {
            id = vm.Id,
            observed = report.Power switch
            {
                Power.On => "on",
                Power.Off => "off",
                Power.Gone => "gone",
                _ => "unknown",
            },
            generation = report.Generation,
            restarts = report.Restarts,
            now,
            phase = isAnswer ? (int)report.Phase : Math.Min((int)report.Phase, vm.Phase),
            sshHost = report.SshHost,
            sshPort = report.SshPort,
            consoleTail = report.ConsoleTail,
            problem = isAnswer ? report.Problem : "",
            problemFinal = isAnswer && report.ProblemFinal,
        }, cancel);
        foreach (var key in report.HostKeys)
            await transaction.ExecuteAsync(ObserveVmSql.PutHostKey,
                new { vm = vm.Id, type = key.Type, key = key.Key, fingerprint = key.Fingerprint }, cancel);
    }

    /// <summary>
    /// Time in the unknown state is free, and so is a VM whose disk is lost. Charging resumes once the VM is observed
    /// again, unless it is still being created.
    /// </summary>
    static async Task ChargeAsync(
        NpgsqlTransaction transaction, VmRow vm, VmObservation report, DateTime now, CancellationToken cancel)
    {
        if (vm.Deleted is not null || vm.Wanted == "gone") return;
        if (report.Power == Power.Unknown || report.DiskLost)
            await transaction.ExecuteAsync(VmSql.CloseUsage, new { id = vm.Id, now }, cancel);
        else if (report.Power is Power.On or Power.Off && vm.State != "creating")
            await transaction.ExecuteAsync(VmSql.OpenUsage, new { id = vm.Id, now }, cancel);
    }
}
