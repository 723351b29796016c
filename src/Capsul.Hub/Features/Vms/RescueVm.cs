using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A way in when a VM's own system lets nobody in: it is started from a small system, with its own disk beside it, and
/// all SSH keys of its account may log in. Either a refusal, or a row of rescues and an operation, in one transaction.
/// </summary>
public static class RescueVm
{
    public const string OperationName = "rescue_vm";

    /// <summary>The image that rescue systems are made of, in the version that the host has.</summary>
    public const string Image = "tiny";

    /// <summary>What is not possible meanwhile says so.</summary>
    public static readonly Problem InRescue =
        new(ProblemKind.Conflict, "This capsul is in rescue. End the rescue first.");

    /// <param name="Vm">The VM, or null.</param>
    /// <param name="IsBusy">It has an open operation.</param>
    /// <param name="Host">The VM's host.</param>
    /// <param name="Keys">How many SSH keys its account has.</param>
    public sealed record Facts(VmRow? Vm, bool IsBusy, RescueHostRow? Host, int Keys);

    /// <summary>Whether the VM can be rescued at all.</summary>
    public static Problem? Decide(VmRow? vm, bool isBusy) => vm switch
    {
        null or { Deleted: not null } => VmAction.NotFound,
        { InRescue: true } => InRescue,
        _ when isBusy => Conflict("Something else is still being done to this capsul. Wait until it has finished."),
        { State: not ("running" or "stopped") } =>
            Conflict($"This capsul is {vm.State}. Only a running or stopped capsul can be rescued."),
        _ => null,
    };

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(Facts facts)
    {
        if (Decide(facts.Vm, facts.IsBusy) is { } problem) return problem;
        var vm = facts.Vm!;
        return facts.Host switch
        {
            null or { Online: false } => Conflict($"Host {vm.Host} is offline. Try again when it is back."),
            { Rescues: false } => Conflict(
                $"The software of host {vm.Host} is too old to rescue capsuls. Ask the operators to upgrade it."),
            { ImageSha256: null } => Conflict(
                $"Host {vm.Host} has no rescue system. Ask the operators to build the image {Image} there."),
            _ when facts.Host.MinMemoryMb > vm.MemoryMb => Conflict("The rescue system needs "
                + $"{Show.Memory(facts.Host.MinMemoryMb)} of memory; this capsul has {Show.Memory(vm.MemoryMb)}."),
            _ when facts.Keys == 0 => new(ProblemKind.Invalid,
                "Your account has no SSH key. Add one first; without one nobody could log in."),
            _ => null,
        };
    }

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
        var (vm, isBusy) = await LockAsync(transaction, email, id, cancel);
        if (Decide(vm, isBusy) is { } early) return early;
        var keys = await transaction.AskAsync<string>(RescueSql.Keys, new { vm!.Email }, cancel);
        var facts = new Facts(vm, isBusy,
            await transaction.FindAsync<RescueHostRow>(RescueSql.Host, new { host = vm.Host, image = Image }, cancel),
            keys.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        if (Decide(facts) is { } problem) return problem;
        var now = time.GetUtcNow().UtcDateTime;
        await transaction.ExecuteAsync(RescueSql.Insert, new
        {
            vm = vm.Id,
            now,
            actor,
            image = Image,
            facts.Host!.ImageSha256,
            facts.Host.LoginUser,
            keys,
        }, cancel);
        await RestartAsync(transaction, vm, settings, cancel);
        await transaction.StartOperationAsync(OperationName, vm.Id, vm.Email, RescueVmOperation.Boot,
            "Starting the rescue system; its own disk stays as it is", now,
            settings.StopGrace + CreateVm.BuildLimit(settings, facts.Host.Emulated), cancel);
        await transaction.AuditAsync(actor, OperationName, vm.Id, "", cancel);
        return vm.Id;
    }

    /// <summary>In lock order: operation, VM.</summary>
    internal static async Task<(VmRow? Vm, bool IsBusy)> LockAsync(
        NpgsqlTransaction transaction, string? email, string id, CancellationToken cancel)
    {
        var open = await transaction.FindAsync<long?>(OperationSql.LockOpenOf, new { vm = id }, cancel);
        var vm = await (email is null
            ? transaction.FindAsync<VmRow>(VmSql.LockAny, new { id }, cancel)
            : transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel));
        return (vm, open is not null);
    }

    /// <summary>Has the VM started from what is wanted now.</summary>
    internal static async Task RestartAsync(
        NpgsqlTransaction transaction, VmRow vm, Settings settings, CancellationToken cancel)
    {
        var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host = vm.Host }, cancel);
        await transaction.ExecuteAsync(RescueSql.Restart,
            new { vm = vm.Id, generation, graceSeconds = (int)settings.StopGrace.TotalSeconds }, cancel);
    }
}
