using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Making a VM of a foreign machine: either a refusal, or a row, an address and an operation in one transaction. The
/// account's balance and limits are not asked: an operator decides.
/// </summary>
public static class AdoptVm
{
    public const string OperationName = "adopt_vm";

    /// <param name="Domain">Name or UUID of the foreign machine.</param>
    /// <param name="Name">Of the VM; empty: that of the machine if it is possible, or the VM's ID.</param>
    public sealed record Input(string Host, string Domain, string? Account, string? Size, string? Name, string? Reason);

    public sealed record Facts(string? HostState, ForeignMachineRow? Machine, bool HasAccount, SizeRow? Size,
        bool IsTaken);

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(Input input, Facts facts)
    {
        if (facts.HostState is null or "removed") return DrainHost.NotFound(input.Host);
        if (facts.Machine is null)
            return new(ProblemKind.NotFound, $"{input.Host} reports no machine {input.Domain} that could be adopted.");
        if (facts.Machine.Refusal.Length > 0)
            return new(ProblemKind.Conflict, $"{facts.Machine.Name} cannot be adopted. {facts.Machine.Refusal}");
        if (facts.IsTaken) return new(ProblemKind.Conflict, $"{facts.Machine.Name} is being adopted already.");
        if (!facts.HasAccount) return Wrong(nameof(Input.Account), $"There is no account {input.Account}.");
        if (facts.Size is null)
            return Wrong(nameof(Input.Size), string.IsNullOrEmpty(input.Size)
                ? "Choose a size." : $"There is no size called {input.Size}.");
        if (!string.IsNullOrEmpty(input.Name) && !Formats.IsLabel(input.Name))
            return Wrong(nameof(Input.Name),
                "A name is 1 to 63 lower-case letters, digits and hyphens, and neither begins nor ends with a hyphen.");
        return CheckFit(facts.Machine, facts.Size);
    }

    /// <summary>The machine keeps its disk, and gets the processors and the memory of the size.</summary>
    static Problem? CheckFit(ForeignMachineRow machine, SizeRow size)
    {
        List<string> more = [];
        if (machine.Vcpus > size.Vcpus) more.Add($"{machine.Vcpus} processors (the size has {size.Vcpus})");
        if (machine.MemoryMb > size.MemoryMb) more.Add($"{machine.MemoryMb} MiB of memory ({size.MemoryMb})");
        if (machine.DiskGb > size.DiskGb) more.Add($"a disk of {machine.DiskGb} GiB ({size.DiskGb})");
        return more.Count == 0 ? null : Wrong(nameof(Input.Size),
            $"{machine.Name} does not fit size {size.Id}: it has {string.Join(", ", more)}.");
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <summary>Decides and, unless refused, starts the operation. Returns the VM's ID.</summary>
    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, Input input, Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var reason = "";
            if (!string.IsNullOrWhiteSpace(input.Reason)
                && Reason.Parse(input.Reason).Refused(out var unclear, out reason))
                return unclear;
            var email = EmailAddress.Parse(input.Account).Refused(out _, out var address) ? "" : address;
            var now = time.GetUtcNow().UtcDateTime;
            var facts = await LoadAsync(transaction, input, email, now, cancel);
            if (Decide(input, facts) is { } problem) return problem;
            var (machine, size) = (facts.Machine!, facts.Size!);
            var isEmulated = await transaction.FindAsync<bool?>(AdoptVmSql.Check, new
            {
                host = input.Host,
                size.MemoryMb,
                size.DiskGb,
                diskFactor = settings.DiskOvercommit,
                now,
            }, cancel);
            if (isEmulated is null)
                return new Problem(ProblemKind.NoCapacity,
                    $"{input.Host} is offline or drained, or has not enough memory, disk, ports or addresses.");
            var id = CreateVm.NewId();
            await InsertAsync(transaction, id, email, input, machine, size, now, cancel);
            await transaction.StartOperationAsync(OperationName, id, email, CreateVmOperation.Start,
                $"{machine.Name} on host {input.Host} is shut down and taken over", now,
                CreateVm.BuildLimit(settings, isEmulated.Value), cancel);
            await transaction.AuditAsync(actor, OperationName, id,
                $"{machine.Name} ({machine.Uuid}) on {input.Host} for {email}, {size.Id}: {reason}", cancel);
            return id;
        }, cancel);

    /// <summary>Locks in the usual order: the account, then the host.</summary>
    static async Task<Facts> LoadAsync(
        NpgsqlTransaction transaction, Input input, string email, DateTime now, CancellationToken cancel)
    {
        var hasAccount = await transaction.FindAsync<string>(AdoptVmSql.LockAccount, new { email }, cancel) is not null;
        await transaction.FindAsync<string>(PlaceSql.Lock, new { host = input.Host }, cancel);
        var machine = await transaction.FindAsync<ForeignMachineRow>(
            ForeignMachineSql.Find, new { host = input.Host, domain = input.Domain }, cancel);
        return new Facts(
            await transaction.FindAsync<string>(HostSql.StateOf, new { id = input.Host }, cancel), machine, hasAccount,
            await transaction.FindAsync<SizeRow>(SizeSql.Find, new { size = input.Size ?? "", now, email }, cancel),
            machine is not null && await transaction.FindAsync<string>(
                AdoptVmSql.MadeOf, new { host = input.Host, uuid = machine.Uuid }, cancel) is not null);
    }

    static async Task InsertAsync(NpgsqlTransaction transaction, string id, string email, Input input,
        ForeignMachineRow machine, SizeRow size, DateTime now, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(ImageSql.AddAdopted, new { id = Protocol.AdoptedImage }, cancel);
        await transaction.ExecuteAsync(AdoptVmSql.Insert, new
        {
            id,
            email,
            name = !string.IsNullOrEmpty(input.Name) ? input.Name : Formats.IsLabel(machine.Name) ? machine.Name : id,
            size = size.Id,
            image = Protocol.AdoptedImage,
            host = input.Host,
            now,
            dollarsPerMonth = size.DollarsPerMonth,
            priceFrom = size.PriceFrom,
            pricePercent = size.PricePercent,
            vcpus = size.Vcpus,
            memoryMb = size.MemoryMb,
            diskGb = size.DiskGb,
            generation = await transaction.FindAsync<long>(HostSql.NextGeneration, new { host = input.Host }, cancel),
            adopt = machine.Uuid,
        }, cancel);
        await transaction.ExecuteAsync(AdoptVmSql.InsertKeys, new { id, email }, cancel);
        if (await transaction.FindAsync<AddressRow>(
            AddressSql.Take, new { vm = id, host = input.Host, now }, cancel) is null)
            throw new ProblemException(ProblemKind.NoCapacity,
                $"The last free address of {input.Host} has just been taken. Try again.");
        if (Formats.IsMac(machine.Mac))
            await transaction.ExecuteAsync(AddressSql.KeepMac, new { vm = id, mac = machine.Mac }, cancel);
    }
}

/// <summary>
/// Waits until the Spoke has taken the foreign machine over and SSH responds. Undo gives it back as it was found.
/// </summary>
public sealed class AdoptVmOperation : CreateVmOperation
{
    public override string Name => AdoptVm.OperationName;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(Start, "Shutting the machine down and taking it over"), (Boot, "Waiting for SSH")];

    protected override string Undone =>
        "Given back: the machine is on its host as it was found, and nothing was charged";

    protected override async Task EndAsync(VmStep step, CancellationToken cancel)
    {
        var generation = await step.Transaction.FindAsync<long>(
            HostSql.NextGeneration, new { host = step.Vm.Host }, cancel);
        await step.Transaction.ExecuteAsync(AdoptVmSql.End, new { id = step.Vm.Id, generation }, cancel);
    }
}
