using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Reinstalling a VM in place: it keeps its ID, name, addresses, host, ports and firewall, and gets a new disk, made of
/// the same image or another one. Either a refusal, or a row of what it is to become and an operation, in one
/// transaction.
/// </summary>
public static class ReinstallVm
{
    public const string OperationName = "reinstall_vm";

    /// <param name="Vm">The VM's ID.</param>
    /// <param name="Image">Empty: the one that it has.</param>
    /// <param name="KeyIds">Of the account's keys; null: the keys that the VM has.</param>
    /// <param name="Name">The VM's name, typed to confirm that its data may go.</param>
    public sealed record Input(string Vm, string? Image, IReadOnlyList<long>? KeyIds, string? Name);

    /// <param name="Vm">The VM, or null.</param>
    /// <param name="IsBusy">It has an open operation.</param>
    /// <param name="Image">The image; null: there is none of that name.</param>
    /// <param name="Host">The VM's host.</param>
    /// <param name="Keys">How many of the chosen keys were found.</param>
    public sealed record Facts(VmRow? Vm, bool IsBusy, ImageRow? Image, ReinstallHostRow? Host, int Keys);

    /// <summary>Whether the VM can be reinstalled at all.</summary>
    public static Problem? Decide(VmRow? vm, bool isBusy) => vm switch
    {
        null or { Deleted: not null } => VmAction.NotFound,
        { InRescue: true } => RescueVm.InRescue,
        _ when isBusy => Conflict("Something else is still being done to this capsul. Wait until it has finished."),
        { State: not ("running" or "stopped") } =>
            Conflict($"This capsul is {vm.State}. Only a running or stopped capsul can be reinstalled."),
        { Image: Protocol.AdoptedImage } => Conflict(
            "This capsul was adopted and has no image, so it cannot be reinstalled. Create another one instead."),
        _ => null,
    };

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(Input input, Facts facts)
    {
        if (Decide(facts.Vm, facts.IsBusy) is { } problem) return problem;
        var (vm, image, host) = (facts.Vm!, facts.Image, facts.Host);
        return image is null ? Wrong("Image", "There is no such image.")
            : image.Deprecated && image.Id != vm.Image
                ? Wrong("Image", $"The image {image.Title} is no longer offered.")
            : vm.DiskGb < image.MinDiskGb ? Wrong("Image",
                $"{image.Title} needs a disk of {image.MinDiskGb} GiB or more; this capsul has {vm.DiskGb} GiB.")
            : vm.MemoryMb < image.MinMemoryMb ? Wrong("Image", $"{image.Title} needs {Show.Memory(image.MinMemoryMb)} "
                + $"of memory or more; this capsul has {Show.Memory(vm.MemoryMb)}.")
            : facts.Keys == 0 ? Wrong("KeyIds", "Choose at least one SSH key; without one nobody could log in.")
            : input.KeyIds is { } chosen && chosen.Distinct().Count() != facts.Keys
                ? Wrong("KeyIds", "One of the chosen SSH keys no longer exists.")
            : input.Name?.Trim() != vm.Name ? Wrong("Name", $"Type {vm.Name} here to confirm that its data may go.")
            : Decide(vm, image, host);
    }

    static Problem? Decide(VmRow vm, ImageRow image, ReinstallHostRow? host) => host switch
    {
        null or { Online: false } => Conflict($"Host {vm.Host} is offline. Try again when it is back."),
        { MakesDisksAnew: false } => Conflict(
            $"The software of host {vm.Host} is too old to reinstall capsuls. Ask the operators to upgrade it."),
        { ImageSha256: null } => Wrong("Image", $"Host {vm.Host} does not have the image {image.Title}."),
        { DiskFreeMb: < MoveVm.LeastFreeMb } => new(ProblemKind.NoCapacity,
            $"The disk of host {vm.Host} is nearly full, and the old disk is kept until the new one has booted."),
        _ => null,
    };

    static Problem Conflict(string sentence) => new(ProblemKind.Conflict, sentence);

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <param name="email">The account that asks; null: an operator.</param>
    /// <returns>The VM's ID.</returns>
    public static Task<Outcome<string>> RunAsync(Db db, string actor, string? email, Input input, Settings settings,
        TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
            email is not null && await transaction.FindAsync<bool>(DunningSql.IsStopped, new { email }, cancel)
                ? ChangeVm.NotPaid
                : await InAsync(transaction, actor, email, input, settings, time, cancel), cancel);

    static async Task<Outcome<string>> InAsync(NpgsqlTransaction transaction, string actor, string? email, Input input,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        // In lock order: operation, VM, host.
        var open = await transaction.FindAsync<long?>(OperationSql.LockOpenOf, new { vm = input.Vm }, cancel);
        var vm = await (email is null
            ? transaction.FindAsync<VmRow>(VmSql.LockAny, new { id = input.Vm }, cancel)
            : transaction.FindAsync<VmRow>(VmSql.Lock, new { id = input.Vm, email }, cancel));
        if (Decide(vm, open is not null) is { } early) return early;
        var image = string.IsNullOrEmpty(input.Image) ? vm!.Image : input.Image;
        var keys = (await (input.KeyIds is { } chosen
            ? transaction.FindAsync<KeyLinesRow>(
                ReinstallSql.ChosenKeys, new { vm!.Email, keyIds = chosen.Distinct().ToArray() }, cancel)
            : transaction.FindAsync<KeyLinesRow>(ReinstallSql.OwnKeys, new { id = vm!.Id }, cancel)))!;
        var facts = new Facts(vm, open is not null,
            await transaction.FindAsync<ImageRow>(ImageSql.Find, new { image }, cancel),
            await transaction.FindAsync<ReinstallHostRow>(ReinstallSql.Host, new { host = vm.Host, image }, cancel),
            keys.Keys.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        if (Decide(input, facts) is { } problem) return problem;
        await BeginAsync(transaction, actor, facts, keys, settings, time.GetUtcNow().UtcDateTime, cancel);
        return vm.Id;
    }

    static async Task BeginAsync(NpgsqlTransaction transaction, string actor, Facts facts, KeyLinesRow keys,
        Settings settings, DateTime now, CancellationToken cancel)
    {
        var (vm, image, host) = (facts.Vm!, facts.Image!, facts.Host!);
        await transaction.ExecuteAsync(ReinstallSql.Insert, new
        {
            vm = vm.Id,
            now,
            image = image.Id,
            host.ImageSha256,
            image.LoginUser,
            keys.Keys,
            keys.KeyNames,
        }, cancel);
        var generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host = vm.Host }, cancel);
        await transaction.ExecuteAsync(ReinstallSql.Begin,
            new { vm = vm.Id, generation, graceSeconds = (int)settings.StopGrace.TotalSeconds }, cancel);
        await transaction.StartOperationAsync(OperationName, vm.Id, vm.Email, ReinstallVmOperation.Renew,
            $"Reinstalling with {image.Title}; the old disk is kept until the new one has booted", now,
            settings.StopGrace + CreateVm.BuildLimit(settings, host.Emulated), cancel);
        await transaction.AuditAsync(actor, OperationName, vm.Id, $"{vm.Image} to {image.Id}", cancel);
    }
}
