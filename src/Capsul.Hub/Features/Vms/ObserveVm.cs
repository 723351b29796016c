using Capsul.Hub.Database;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.SshKeys;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Takes in what a Spoke reports of a VM: what is observed, what the waiting person sees, and whether time is charged. A report about
/// a VM of another host, or older than one taken in, changes nothing.
/// </summary>
public static class ObserveVm
{
    /// <summary>What a person reads when a phase is reached.</summary>
    static string Title(Phase phase) => phase switch
    {
        Phase.Disk => "Disk created",
        Phase.Defined => "VM configured",
        Phase.Started => "Started",
        Phase.Booting => "Booting",
        Phase.Ssh => "SSH answers",
        Phase.Ready => "Host key verified",
        Phase.None => "",
        _ => "",
    };

    /// <summary>Null: the VM is not this host's (or nobody's). Otherwise whether it was taken in.</summary>
    public static async Task<bool?> RunAsync(NpgsqlTransaction transaction, string host, VmReport report, DateTime now, CancellationToken cancel)
    {
        // Operation first, then VM: the same order in which the runner locks them.
        var operation = await transaction.FindAsync<long?>(OperationSql.WakeFromHost, new { vm = report.Id, host, now }, cancel);
        var vm = await transaction.FindAsync<VmRow>(VmSql.LockAny, new { id = report.Id }, cancel);
        if (vm is null || vm.Host != host) return null;
        if (report.Generation < vm.ObservedGeneration) return false;
        if (operation is { } id && report.Generation >= vm.WantedGeneration)
            await AddPhasesAsync(transaction, id, (Phase)vm.Phase, report.Phase, now, cancel);
        await SaveAsync(transaction, vm, report, now, cancel);
        await ChargeAsync(transaction, vm, report.Power, now, cancel);
        if (report.Power == Power.Gone && vm.Deleted is not null)
            await transaction.ExecuteAsync(AddressSql.Free, new { id = vm.Id, now }, cancel);
        if (operation is null && report.Power == Power.Off && vm.Wanted == "on" && vm.State == "running" && report.Generation >= vm.WantedGeneration)
            await transaction.WantAsync(vm, "stopped", "off", cancel);
        return true;
    }

    static async Task AddPhasesAsync(NpgsqlTransaction transaction, long operation, Phase from, Phase to, DateTime now, CancellationToken cancel)
    {
        for (var phase = from + 1; phase <= to; phase++)
            await transaction.ExecuteAsync(OperationSql.AddEvent, new { id = operation, now, step = "phase", message = Title(phase) }, cancel);
    }

    static async Task SaveAsync(NpgsqlTransaction transaction, VmRow vm, VmReport report, DateTime now, CancellationToken cancel)
    {
        var current = report.Generation >= vm.WantedGeneration;
        await transaction.ExecuteAsync(ObserveVmSql.Observe, new
        {
            id = vm.Id,
            observed = report.Power switch { Power.On => "on", Power.Off => "off", Power.Gone => "gone", Power.Unknown => "unknown", _ => "unknown" },
            generation = report.Generation,
            restarts = report.Restarts,
            now,
            phase = current ? (int)report.Phase : Math.Min((int)report.Phase, vm.Phase),
            sshHost = report.SshHost,
            sshPort = report.SshPort,
            consoleTail = report.ConsoleTail.Replace("\0", "", StringComparison.Ordinal),
            problem = current ? report.Problem : "",
            problemFinal = current && report.ProblemFinal,
        }, cancel);
        foreach (var key in report.HostKeys)
            await transaction.ExecuteAsync(ObserveVmSql.PutHostKey, new { vm = vm.Id, type = key.Type, key = key.Key, fingerprint = Fingerprint(key.Key) }, cancel);
    }

    /// <summary>Unknown is free. A VM that was made is charged again once it is known to be there; one that is being made not yet.</summary>
    static async Task ChargeAsync(NpgsqlTransaction transaction, VmRow vm, Power power, DateTime now, CancellationToken cancel)
    {
        if (vm.Deleted is not null || vm.Wanted == "gone") return;
        if (power == Power.Unknown)
            await transaction.ExecuteAsync(VmSql.CloseUsage, new { id = vm.Id, now }, cancel);
        else if (power is Power.On or Power.Off && vm is { Observed: "unknown", State: not "creating" })
            await transaction.ExecuteAsync(VmSql.OpenUsage, new { id = vm.Id, now }, cancel);
    }

    /// <summary>What a guest prints on its console need not be a key.</summary>
    static string Fingerprint(string base64Key)
    {
        var blob = new byte[base64Key.Length];
        return Convert.TryFromBase64String(base64Key, blob, out var length) ? SshKey.FingerprintOf(blob[..length]) : "unreadable";
    }
}
