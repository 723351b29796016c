using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Moving a VM to another host: either a refusal, or the VM wanted off at the source, a copy wanted at the target, an
/// address there, and an operation, in one transaction.
/// </summary>
public static class MoveVm
{
    public const string OperationName = "move_vm";

    /// <summary>With less than that no disk is received, MiB: as for new VMs.</summary>
    public const int LeastFreeMb = 4096;

    /// <summary>Candidates that are looked at, one after the other, until one has room.</summary>
    const int Compared = 8;

    const int TransferIdBytes = 16;

    /// <summary>For shutting down, flattening and starting; the disk gets more.</summary>
    public static readonly TimeSpan BaseLimit = TimeSpan.FromMinutes(30);

    static readonly TimeSpan LimitPerGib = TimeSpan.FromMinutes(1);

    const string Before = "move";

    /// <param name="Vm">The VM's ID.</param>
    /// <param name="To">The target; empty: the best one.</param>
    public sealed record Input(string Vm, string? To);

    /// <summary>What is read before a target is chosen.</summary>
    /// <param name="Vm">The VM, or null.</param>
    /// <param name="Source">The host that it is on.</param>
    /// <param name="IsBusy">It has an open operation.</param>
    /// <param name="IsRebuilding">A lost database is being rebuilt.</param>
    public sealed record Facts(VmRow? Vm, MoveHostRow? Source, bool IsBusy, bool IsRebuilding);

    /// <summary>Whether the VM may leave its host now.</summary>
    public static Problem? Decide(Facts facts) => facts switch
    {
        { Vm: null or { Deleted: not null } } => VmAction.NotFound,
        { IsRebuilding: true } => Refuse("The database is being rebuilt; finish that first (capsul hub rebuild)."),
        { IsBusy: true } => Refuse("Another operation on this capsul is still running; wait until it has finished."),
        { Vm.InRescue: true } => RescueVm.InRescue,
        { Vm.State: not ("running" or "stopped") } =>
            Refuse($"This capsul is {facts.Vm.State}. Only a running or stopped one can be moved."),
        { Vm.Image: Protocol.AdoptedImage } => Refuse(
            "This capsul was adopted, and boots in a way that only its host knows. It cannot be moved."),
        { Source: null or { Online: false } } => Refuse($"{facts.Vm.Host} is offline, and the disk is there."),
        { Source.MovesDisks: false } => Refuse($"The Spoke of {facts.Vm.Host} is too old to move disks; upgrade it."),
        { Vm.Observed: "unknown" } => Refuse($"{facts.Vm.Host} has not reported on this capsul; wait until it has."),
        _ => null,
    };

    /// <summary>Whether a host may take the VM. With the host locked.</summary>
    public static Problem? Decide(VmRow vm, MoveHostRow? to, string name) => to switch
    {
        null or { State: "removed" } => DrainHost.NotFound(name) with { Field = nameof(Input.To) },
        _ when to.Id == vm.Host => Short($"The capsul is on {name} already."),
        { State: not "joined" } => Short($"{name} is {to.State}."),
        { Online: false } => Short($"{name} is offline."),
        { Accepts: false } => Short($"{name} is drained."),
        { MovesDisks: false } => Short($"The Spoke of {name} is too old to move disks; upgrade it."),
        { HasCopy: true } => Short($"{name} still has an old copy of this capsul, which it is about to remove."),
        _ when to.Memory < vm.MemoryMb => Short(
            $"{name} has {Show.Memory((int)Math.Max(0, to.Memory))} of memory free; the capsul "
            + $"needs {Show.Memory(vm.MemoryMb)}."),
        { DiskFreeMb: < LeastFreeMb } => Short($"The disk of {name} is nearly full."),
        _ when to.Disk < vm.DiskGb => Short($"{name} has {Math.Max(0, (long)to.Disk!.Value)} GiB of disk free; the "
            + $"capsul needs {vm.DiskGb} GiB."),
        { Ports: <= 0 } => Short($"All ports for SSH of {name} are in use."),
        { TakesFurther: false } => Short($"The capsul has further public addresses, and {name} has none for it."),
        { HasAddress: false, Further: > 0 } => Short($"{name} has fewer free addresses than the capsul needs."),
        { HasAddress: false } => Short($"All addresses of {name} are in use."),
        _ => null,
    };

    static Problem Refuse(string sentence) => new(ProblemKind.Conflict, sentence);

    static Problem Short(string sentence) => new(ProblemKind.NoCapacity, sentence) { Field = nameof(Input.To) };

    /// <summary>Asked for by an operator, with a reason. Returns the operation's number.</summary>
    public static Task<Outcome<long>> RunAsync(Db db, string actor, Input input, string? reason, Settings settings,
        TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            var why = "";
            if (!string.IsNullOrWhiteSpace(reason) && Reason.Parse(reason).Refused(out var unclear, out why))
                return unclear;
            return await InAsync(transaction, actor, input, why, settings, time, cancel);
        }, cancel);

    /// <summary>The same in the caller's transaction.</summary>
    public static async Task<Outcome<long>> InAsync(NpgsqlTransaction transaction, string actor, Input input,
        string reason, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        // In lock order: operation, VM, hosts.
        var open = await transaction.FindAsync<long?>(OperationSql.LockOpenOf, new { vm = input.Vm }, cancel);
        var vm = await transaction.FindAsync<VmRow>(VmSql.LockAny, new { id = input.Vm }, cancel);
        var rebuilding = await transaction.AskAsync<bool>(RebuildSql.IsOpen, null, cancel);
        var source = vm is null ? null : await FindHostAsync(transaction, vm, vm.Host, settings, time, cancel);
        if (Decide(new Facts(vm, source, open is not null, rebuilding)) is { } problem) return problem;
        var found = string.IsNullOrEmpty(input.To) ? await ChooseAsync(transaction, vm!, settings, time, cancel)
            : await TryAsync(transaction, vm!, input.To, settings, time, cancel);
        if (found.Refused(out var shortage, out var to)) return shortage;
        return await BeginAsync(transaction, actor, vm!, to, reason, settings, time, cancel);
    }

    static Task<MoveHostRow?> FindHostAsync(
        NpgsqlTransaction transaction, VmRow vm, string host, Settings settings, TimeProvider time,
        CancellationToken cancel) =>
        transaction.FindAsync<MoveHostRow>(MovePlaceSql.Find,
            new
            {
                host,
                vm = vm.Id,
                address = vm.Address,
                diskFactor = settings.DiskOvercommit,
                now = time.GetUtcNow().UtcDateTime,
            }, cancel);

    /// <summary>What <see cref="MovePlaceSql.Candidates"/> needs to know.</summary>
    public static object Needs(VmRow vm, Settings settings, TimeProvider time, int limit) => new
    {
        vm = vm.Id,
        address = vm.Address,
        source = vm.Host,
        vm.MemoryMb,
        vm.DiskGb,
        leastFreeMb = LeastFreeMb,
        diskFactor = settings.DiskOvercommit,
        specialRanges = PublicAddress.SpecialRanges,
        limit,
        now = time.GetUtcNow().UtcDateTime,
    };

    /// <summary>The best host that has room once it is locked.</summary>
    static async Task<Outcome<string>> ChooseAsync(
        NpgsqlTransaction transaction, VmRow vm, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var candidates = await transaction.ListAsync<string>(
            MovePlaceSql.Candidates, Needs(vm, settings, time, Compared), cancel);
        foreach (var host in candidates)
        {
            await transaction.SaveAsync(Before, cancel);
            var tried = await TryAsync(transaction, vm, host, settings, time, cancel);
            if (tried.Problem is null) return tried;
            // Unlocks it: waiting for one host with another locked could become a deadlock.
            await transaction.RollbackAsync(Before, cancel);
        }
        var others = await transaction.AskAsync<OtherHostsRow>(
            MovePlaceSql.Others, new { source = vm.Host }, cancel);
        return Explain(vm, others);
    }

    /// <summary>Why no host can take it.</summary>
    public static Problem Explain(VmRow vm, OtherHostsRow others) => Short(
        others.Count == 0 ? "No other host is online, accepts capsuls, and can receive disks."
        : others.Memory < vm.MemoryMb ? $"No other host has room: the capsul needs {Show.Memory(vm.MemoryMb)} of "
            + $"memory, and the most that is free on one is {Show.Memory((int)Math.Max(0, others.Memory))}."
        : $"No other host has enough memory, disk ({vm.DiskGb} GiB), ports and addresses at the same time.");

    /// <summary>Locks both hosts, and decides.</summary>
    static async Task<Outcome<string>> TryAsync(
        NpgsqlTransaction transaction, VmRow vm, string host, Settings settings, TimeProvider time,
        CancellationToken cancel)
    {
        await transaction.ListAsync<string>(MoveSql.LockHosts, new { hosts = new[] { vm.Host, host } }, cancel);
        var row = await FindHostAsync(transaction, vm, host, settings, time, cancel);
        return Decide(vm, row, host) is { } problem ? problem : host;
    }

    static async Task<Outcome<long>> BeginAsync(NpgsqlTransaction transaction, string actor, VmRow vm, string to,
        string reason, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host = vm.Host }, cancel);
        var there = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host = to }, cancel);
        await transaction.ExecuteAsync(MoveSql.Begin,
            new { id = vm.Id, generation, graceSeconds = (int)settings.StopGrace.TotalSeconds }, cancel);
        var operation = await transaction.StartOperationAsync(OperationName, vm.Id, vm.Email, MoveVmOperation.Stop,
            $"Moving from {vm.Host} to {to}" + (reason.Length > 0 ? $": {reason}" : ""), now,
            settings.StopGrace + BaseLimit + LimitPerGib * vm.DiskGb, cancel);
        await transaction.ExecuteAsync(MoveSql.Insert, new
        {
            vm = vm.Id,
            operation,
            to,
            transfer = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(TransferIdBytes)),
            was = vm.State,
            now,
            generation = there,
        }, cancel);
        if (await transaction.FindAsync<AddressRow>(AddressSql.TakePreferred,
            new { vm = vm.Id, host = to, preferred = vm.Address ?? "", now }, cancel) is null)
            throw new ProblemException(ProblemKind.NoCapacity, $"The last address of {to} has just been taken.");
        foreach (var further in await transaction.ListAsync<FurtherAddressRow>(
            AddressSql.FurtherOfVm, new { id = vm.Id }, cancel))
        {
            if (await transaction.FindAsync<AddressRow>(AddressSql.TakeFurther,
                new { vm = vm.Id, extra = further.Extra, host = to, preferred = further.Address, now }, cancel) is null)
                throw new ProblemException(ProblemKind.NoCapacity, $"The last address of {to} has just been taken.");
        }
        await transaction.ExecuteAsync(MoveRefusalSql.Forget, new { vm = vm.Id }, cancel);
        await transaction.AuditAsync(actor, OperationName, vm.Id,
            $"{vm.Host} to {to}" + (reason.Length > 0 ? $": {reason}" : ""), cancel);
        return operation;
    }
}
