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
    bool DiskLost, bool Paused, bool HasRun, TransferProgress? Transfer, long Disk = 0, long Rescue = 0,
    long KeySet = 0);

/// <summary>How far the disk of a VM is that is moved; the checksum once it has arrived and was verified.</summary>
public sealed record TransferProgress(string Id, long BytesDone, long BytesTotal, string Sha256);

/// <summary>A report that was accepted, and the VM as it was before.</summary>
sealed record ObservedChange(ObservedRow Vm, VmObservation Report)
{
    public bool IsAnswer => Report.Generation == Vm.WantedGeneration;

    public string Observed => Report.Power switch
    {
        Power.On => "on",
        Power.Off => "off",
        Power.Gone => "gone",
        _ => "unknown",
    };

    public int Phase => IsAnswer ? (int)Report.Phase : Math.Min((int)Report.Phase, Vm.Phase);
}

/// <summary>
/// Processes a Spoke's reports on its VMs, any number in one transaction: the observed state, the lines that the
/// waiting person sees, and whether time is charged. A report changes nothing if it is about a VM of another host, is
/// older than one already processed, or answers another epoch or a generation that was never sent. Reports that say
/// what is already known are dropped before (<see cref="IsNews"/>): an unchanged inventory costs one read. Locks in the
/// usual order (ARCHITECTURE.md, "Locks"): operations, VMs, host.
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
    /// Whether a report may change anything about a VM of this host. Decided on a row that is not locked: if it changes
    /// meanwhile, the report counts as having arrived before.
    /// </summary>
    public static bool IsNews(ObservedRow vm, VmObservation report, long epoch)
    {
        if (vm.IsBack(report)) return true;
        if (!vm.Accepts(report, epoch)) return false;
        var change = new ObservedChange(vm, report);
        return report.DiskLost || (report.StoppedItself && vm.Wanted == "on") || vm.ObservedAt is null
            || (vm.Observed, vm.ObservedGeneration, vm.ObservedRestarts, vm.Phase)
                != (change.Observed, report.Generation, report.Restarts, change.Phase)
            || IsOther(report.SshHost, vm.SshHost) || (report.SshPort != 0 && report.SshPort != vm.SshPort)
            || IsOther(report.ConsoleTail, vm.ConsoleTail)
            || (change.IsAnswer ? report.Problem : "") != vm.Problem
            || (change.IsAnswer && report.ProblemFinal) != vm.ProblemFinal || report.Paused != vm.Paused
            || report.Disk != vm.ObservedDisk || report.Rescue != vm.ObservedRescue || HasOtherKeys(vm, report)
            || HasTakenKeys(vm, report);

        static bool IsOther(string reported, string stored) => reported.Length > 0 && reported != stored;
    }

    /// <summary>It has the SSH keys that it was to take at its next start.</summary>
    static bool HasTakenKeys(ObservedRow vm, VmObservation report) =>
        vm.KeyChange > 0 && report.KeySet == vm.KeyChange && vm.Deleted is null;

    static bool HasOtherKeys(ObservedRow vm, VmObservation report) => report.Rescue > 0
        ? report.HostKeys.Count > 0 && RescueKeys(report) != vm.RescueKeys
        : (report.HostKeys.Count > 0 && report.HostKeys.Count != vm.HostKeys.Count(c => c == '\n'))
            || report.HostKeys.Any(k => !vm.HostKeys.Contains($"{k.Type} {k.Key}\n", StringComparison.Ordinal));

    /// <summary>Host keys of a rescue system as its row has them.</summary>
    static string RescueKeys(VmObservation report) => string.Concat(
        report.HostKeys.OrderBy(k => k.Type, StringComparer.Ordinal)
            .Select(k => $"{k.Type} {k.Key} {k.Fingerprint}\n"));

    /// <summary>Locks the VMs, and processes the reports on those that are on this host.</summary>
    public static async Task RunAsync(
        NpgsqlTransaction transaction, string host, IReadOnlyCollection<VmObservation> reports,
        long epoch, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var ids = reports.Select(r => r.Id).ToArray();
        var operations =
            (await transaction.ListAsync<WokenRow>(OperationSql.WakeFromHost, new { ids, host, now }, cancel))
            .ToDictionary(w => w.Vm, w => w.Id, StringComparer.Ordinal);
        var vms = (await transaction.ListAsync<ObservedRow>(ObserveVmSql.Lock, new { ids, host }, cancel))
            .ToDictionary(v => v.Id, StringComparer.Ordinal);
        var known = reports.Where(r => vms.ContainsKey(r.Id)).Select(r => new ObservedChange(vms[r.Id], r)).ToList();
        foreach (var back in known.Where(c => c.Vm.IsBack(c.Report)))
            await RemoveAgainAsync(transaction, back.Vm, settings, time, cancel);
        var changes = known.Where(c => !c.Vm.IsBack(c.Report) && c.Vm.Accepts(c.Report, epoch)).ToList();
        if (changes.Count == 0) return;
        // In lock order: the accounts' totals, which the next statements change, come after the host.
        if (changes.Exists(
            c => StoppedItself(c, operations.ContainsKey(c.Vm.Id)) || HasTakenKeys(c.Vm, c.Report)))
            await transaction.FindAsync<string>(PlaceSql.Lock, new { host }, cancel);
        await AddPhasesAsync(transaction, operations, changes, now, cancel);
        await SaveAsync(transaction, changes, now, cancel);
        await ChargeAsync(transaction, changes, now, cancel);
        foreach (var change in changes)
            await FollowUpAsync(transaction, change, operations.ContainsKey(change.Vm.Id), settings, time, cancel);
    }

    /// <summary>What happens rarely, one VM at a time.</summary>
    static async Task FollowUpAsync(
        NpgsqlTransaction transaction, ObservedChange change, bool isBusy,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var (vm, report) = change;
        var now = time.GetUtcNow().UtcDateTime;
        if (report.Power == Power.Gone && vm.Deleted is not null)
            await transaction.ExecuteAsync(AddressSql.Free, new { id = vm.Id, now }, cancel);
        if (report.DiskLost)
            await RaiseAlert.InAsync(transaction, settings, RaiseAlert.DiskLost,
                vm.Id, $"The disk of {vm.Id} is no longer on {vm.Host}.", time, cancel);
        if (vm.State == "moving" && report.HasRun)
            await transaction.ExecuteAsync(MoveSql.MarkRan, new { vm = vm.Id, host = vm.Host }, cancel);
        if (HasTakenKeys(vm, report)) await ChangeKeysLater.FinishAsync(transaction, vm, now, cancel);
        if (StoppedItself(change, isBusy)) await StoppedItselfAsync(transaction, vm, now, cancel);
    }

    static bool StoppedItself(ObservedChange change, bool isBusy) => !isBusy && change.IsAnswer
        && change.Report.StoppedItself && change.Vm is { Wanted: "on", State: "running" };

    /// <summary>
    /// The VM was reported gone, and its address may have been reassigned; yet it exists (the hypervisor was wrong, or
    /// a folder was copied back). It is removed again, and an alert is raised.
    /// </summary>
    static async Task RemoveAgainAsync(
        NpgsqlTransaction transaction, ObservedRow vm, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        await transaction.WantAsync(vm.Id, vm.Host, vm.State, "gone", cancel);
        await transaction.ExecuteAsync(ObserveVmSql.NotGone, new { id = vm.Id }, cancel);
        await RaiseAlert.InAsync(transaction, settings, RaiseAlert.DeletedVmPresent, vm.Id,
            $"{vm.Id} was deleted and reported gone, but {vm.Host} still has it. It is being removed again.",
            time, cancel);
    }

    /// <summary>
    /// Sets the wanted state to off and adds a line to the VM's history: nobody clicked, so the page must explain why
    /// it is off.
    /// </summary>
    static async Task StoppedItselfAsync(
        NpgsqlTransaction transaction, ObservedRow vm, DateTime now, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(
            OperationSql.Record,
            new { kind = "guest_shutdown", vm = vm.Id, vm.Email, now, message = "The guest shut itself down" }, cancel);
        await transaction.WantAsync(vm.Id, vm.Host, "stopped", "off", cancel);
        await transaction.AuditAsync($"host {vm.Host}", "guest_shutdown", vm.Id, "", cancel);
    }

    /// <summary>Each line once per operation, even when the Spoke has to start over.</summary>
    static async Task AddPhasesAsync(
        NpgsqlTransaction transaction, Dictionary<string, long> operations, IReadOnlyList<ObservedChange> changes,
        DateTime now, CancellationToken cancel)
    {
        var lines = (from change in changes
                     where change.IsAnswer && operations.ContainsKey(change.Vm.Id)
                     from phase in Enum.GetValues<Phase>()
                     where (int)phase > change.Vm.Phase && phase <= change.Report.Phase
                     select (Operation: operations[change.Vm.Id], Message: phase == Phase.Ready && HasNoKey(change)
                         ? "Ready; host key not verified" : Title(phase))).ToList();
        if (lines.Count == 0) return;
        await transaction.ExecuteAsync(OperationSql.AddEventsOnce, new
        {
            ids = lines.Select(l => l.Operation).ToArray(),
            messages = lines.Select(l => l.Message).ToArray(),
            step = "phase",
            now,
        }, cancel);
    }

    /// <summary>A machine that was adopted may never print its host key.</summary>
    static bool HasNoKey(ObservedChange change) => change.Report.HostKeys.Count == 0 && change.Vm.HostKeys.Length == 0;

    static async Task SaveAsync(
        NpgsqlTransaction transaction, IReadOnlyList<ObservedChange> changes, DateTime now, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(ObserveVmSql.Observe, new
        {
            now,
            ids = changes.Select(c => c.Vm.Id).ToArray(),
            observed = changes.Select(c => c.Observed).ToArray(),
            generations = changes.Select(c => c.Report.Generation).ToArray(),
            restarts = changes.Select(c => c.Report.Restarts).ToArray(),
            phases = changes.Select(c => c.Phase).ToArray(),
            sshHosts = changes.Select(c => c.Report.SshHost).ToArray(),
            sshPorts = changes.Select(c => c.Report.SshPort).ToArray(),
            consoleTails = changes.Select(c => c.Report.ConsoleTail).ToArray(),
            problems = changes.Select(c => c.IsAnswer ? c.Report.Problem : "").ToArray(),
            finals = changes.Select(c => c.IsAnswer && c.Report.ProblemFinal).ToArray(),
            paused = changes.Select(c => c.Report.Paused).ToArray(),
            disks = changes.Select(c => c.Report.Disk).ToArray(),
            rescues = changes.Select(c => c.Report.Rescue).ToArray(),
        }, cancel);
        await SaveRescueKeysAsync(
            transaction, [.. changes.Select(c => c.Report).Where(r => r.Rescue > 0 && r.HostKeys.Count > 0)], cancel);
        await SaveHostKeysAsync(transaction, [.. changes.Where(c => c.Report.Rescue == 0)], cancel);
    }

    /// <summary>The VM's own stay as they are: it has them again when the rescue is over.</summary>
    static async Task SaveRescueKeysAsync(
        NpgsqlTransaction transaction, IReadOnlyList<VmObservation> rescued, CancellationToken cancel)
    {
        if (rescued.Count == 0) return;
        await transaction.ExecuteAsync(RescueSql.PutHostKeys, new
        {
            vms = rescued.Select(r => r.Id).ToArray(),
            numbers = rescued.Select(r => r.Rescue).ToArray(),
            hostKeys = rescued.Select(RescueKeys).ToArray(),
        }, cancel);
    }

    static async Task SaveHostKeysAsync(
        NpgsqlTransaction transaction, IReadOnlyList<ObservedChange> changes, CancellationToken cancel)
    {
        var keys = changes.SelectMany(c => c.Report.HostKeys.Select(k => (c.Vm.Id, Key: k))).ToList();
        if (keys.Count == 0) return;
        var (vms, types) = (keys.Select(k => k.Id).ToArray(), keys.Select(k => k.Key.Type).ToArray());
        await transaction.ExecuteAsync(ObserveVmSql.DropHostKeys, new { vms, types }, cancel);
        await transaction.ExecuteAsync(ObserveVmSql.PutHostKeys, new
        {
            vms,
            types,
            keys = keys.Select(k => k.Key.Key).ToArray(),
            fingerprints = keys.Select(k => k.Key.Fingerprint).ToArray(),
        }, cancel);
    }

    /// <summary>
    /// Time in the unknown state is free, and so is a VM that its host has paused or whose disk is lost: it cannot be
    /// used. Charging resumes once the VM is observed again, unless it is still being created, or being moved.
    /// </summary>
    static async Task ChargeAsync(
        NpgsqlTransaction transaction, IReadOnlyList<ObservedChange> changes, DateTime now, CancellationToken cancel)
    {
        var alive = changes.Where(c => c.Vm.Deleted is null && c.Vm.Wanted != "gone").ToList();
        var free = Ids(alive.Where(c => IsFree(c.Report)));
        var charged = Ids(alive.Where(c => !IsFree(c.Report) && c.Report.Power != Power.Gone
            && c.Vm.State is not ("creating" or "moving")));
        if (free.Length > 0) await transaction.ExecuteAsync(VmSql.CloseUsage, new { ids = free, now }, cancel);
        if (charged.Length > 0) await transaction.ExecuteAsync(VmSql.OpenUsage, new { ids = charged, now }, cancel);

        static bool IsFree(VmObservation report) =>
            report.Power == Power.Unknown || report.DiskLost || report.Paused;

        static string[] Ids(IEnumerable<ObservedChange> changes) => [.. changes.Select(c => c.Vm.Id)];
    }
}
