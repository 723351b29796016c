using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.SpendingLimits;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Hub.Features.Addresses;

/// <summary>
/// Gives a VM a further public IPv4 address from its host's pool, which is charged from then on as the VM is. It has
/// the VM's firewall; the guest gives it to itself, at its next start or when its owner says so inside.
/// </summary>
public static class OrderAddress
{
    internal const string Busy = "Something else is still being done to this capsul. Wait until it has finished.";

    /// <summary>What is read while the account and the VM are locked.</summary>
    /// <param name="Vm">The VM, or null.</param>
    /// <param name="IsBusy">It has an open operation.</param>
    /// <param name="Host">What its host has.</param>
    /// <param name="Price">What an address costs; null: none is offered.</param>
    /// <param name="Balance">Of its account.</param>
    /// <param name="IsStopped">The VMs of its account are stopped because it has not paid.</param>
    public sealed record Facts(VmRow? Vm, bool IsBusy, AddressFactsRow? Host, ExtraPriceRow? Price, BalanceRow Balance,
        bool IsStopped)
    {
        /// <summary>What the owner lets a month cost; null: anything.</summary>
        public SpendingCapRow? Cap { get; init; }
    }

    /// <summary>An address that was ordered, and what it costs a month.</summary>
    public sealed record Ordered(string Address, decimal DollarsPerMonth);

    /// <summary>The refusal, or null.</summary>
    /// <param name="facts">What is known.</param>
    /// <param name="max">How many further addresses an account may have.</param>
    /// <param name="seen">The price that was shown; null: none was.</param>
    public static Problem? Decide(Facts facts, int max, decimal? seen)
    {
        if (facts.Vm is null or { Deleted: not null } || facts.Host is null) return VmAction.NotFound;
        var (vm, host) = (facts.Vm, facts.Host);
        return host switch
        {
            { First: "" } => Conflict($"{vm.Host} has not reported its network yet."),
            _ when !PublicAddress.Is(host.First) => Conflict(
                $"The IPv4 addresses of {vm.Host} are private ({host.Network}): there are no public ones to be had."),
            _ when facts.Price is null => Conflict("Further addresses are not offered here."),
            { GivesMore: false } => Conflict($"The software of host {vm.Host} is too old to give a capsul further "
                + "addresses. Ask the operators to upgrade it."),
            _ when facts.IsBusy => Conflict(Busy),
            _ when CheckHost(vm) is { } problem => problem,
            _ when vm.State is not ("running" or "stopped") =>
                Conflict($"This capsul is {vm.State}. Only a running or stopped one gets further addresses."),
            { HasCopy: true } => Conflict("This capsul was moved, and its old host still has a copy of it. Try again "
                + "when that is removed."),
            { OfVm: >= Protocol.MaxFurtherAddresses } =>
                Conflict($"A capsul has at most {Protocol.MaxFurtherAddresses} further addresses."),
            _ when host.OfAccount >= max => Conflict($"Your account has {host.OfAccount} further addresses, or had "
                + "them within a day: no more are possible. Contact support to raise the limit."),
            _ when facts.IsStopped => ChangeVm.NotPaid,
            _ when CheckBalance(facts.Balance, facts.Price!) is { } problem => problem,
            _ when CheckCap(facts) is { } problem => problem,
            { IsFree: false } => Empty(vm, host),
            _ when seen is not null && seen != facts.Price!.DollarsPerMonth => Conflict("The price has changed: an "
                + $"address costs {Show.Dollars(facts.Price.DollarsPerMonth)} a month now."),
            _ => null,
        };
    }

    /// <summary>
    /// A host that does not answer cannot be told: who gives an address back there would keep it, beside the next one.
    /// </summary>
    internal static Problem? CheckHost(VmRow vm) => vm is not { Observed: "unknown", ObservedAt: not null } ? null
        : new(ProblemKind.Unavailable, $"We lost contact with {vm.Host}, the host of this capsul. Try again later.");

    /// <summary>As for a new VM: a day of everything must be paid for.</summary>
    static Problem? CheckBalance(BalanceRow balance, ExtraPriceRow price)
    {
        var day = Prices.PerDay(balance.DollarsPerMonth + price.DollarsPerMonth);
        return balance.Balance >= day ? null : new(ProblemKind.InsufficientFunds,
            $"Your balance is {Show.Dollars(balance.Balance)}; one day of all that you have and the address costs "
                + $"{Show.Cost(Prices.Ceiling(day))}. Top up first.");
    }

    static Problem? CheckCap(Facts facts) => SpendingCap.Check(
        facts.Cap, facts.Balance.DollarsPerMonth + facts.Price!.DollarsPerMonth, "address");

    static Problem Empty(VmRow vm, AddressFactsRow host) => new(ProblemKind.NoCapacity,
        $"All addresses are in use on {vm.Host} ({host.Network}). Try again later, or ask the operators.");

    static Problem Conflict(string sentence) => new(ProblemKind.Conflict, sentence);

    /// <param name="email">The account that asks; null: an operator.</param>
    /// <param name="seen">The price a month that was shown; null: none was.</param>
    public static Task<Outcome<Ordered>> RunAsync(Db db, string actor, string? email, string id, decimal? seen,
        Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<Ordered>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var owner = email
                ?? (await transaction.FindAsync<VmRow>(MoveSql.FindVm, new { id }, cancel))?.Email ?? "";
            // Locks the account first: its balance and what it has must not change meanwhile.
            var vms = await transaction.FindAsync<int?>(
                VmSql.LockAccount, new { email = owner, max = settings.MaxVms, now }, cancel);
            var facts = await LoadAsync(transaction, owner, id, now, cancel);
            // An account that is new or has paid little has fewer addresses, too.
            var max = Math.Min(settings.MaxAddresses, vms ?? settings.MaxAddresses);
            if (Decide(facts, max, seen) is { } problem) return problem;
            return await AddAsync(transaction, actor, facts, now, cancel);
        }, cancel);

    static async Task<Facts> LoadAsync(
        NpgsqlTransaction transaction, string owner, string id, DateTime now, CancellationToken cancel)
    {
        var (vm, isBusy) = await RescueVm.LockAsync(transaction, owner, id, cancel);
        return new Facts(vm, isBusy,
            await transaction.FindAsync<AddressFactsRow>(ExtraSql.Facts, new { id, now }, cancel),
            await transaction.FindAsync<ExtraPriceRow>(
                ExtraSql.Price, new { kind = Prices.FurtherAddress, now }, cancel),
            await transaction.AskAsync<BalanceRow>(BillingSql.Balance, new { email = owner, now }, cancel),
            await transaction.FindAsync<bool>(DunningSql.IsStopped, new { email = owner }, cancel))
        {
            Cap = await transaction.FindAsync<SpendingCapRow>(
                SpendingLimitSql.Cap, SpendingCap.Of(owner, now), cancel),
        };
    }

    /// <summary>In lock order: host, usage spans and totals, addresses.</summary>
    static async Task<Outcome<Ordered>> AddAsync(
        NpgsqlTransaction transaction, string actor, Facts facts, DateTime now, CancellationToken cancel)
    {
        var (vm, price) = (facts.Vm!, facts.Price!);
        await transaction.RenewAsync(vm, cancel);
        var extra = await transaction.AskAsync<long>(ExtraSql.Add, new
        {
            vm = vm.Id,
            kind = Prices.FurtherAddress,
            dollars = price.DollarsPerMonth,
            from = price.ActiveFrom,
            now,
        }, cancel);
        await transaction.ExecuteAsync(ExtraSql.OpenUsage, new { extra, now }, cancel);
        var taken = await transaction.FindAsync<AddressRow>(
            AddressSql.TakeFurther, new { vm = vm.Id, extra, host = vm.Host, preferred = "", now }, cancel);
        if (taken is null) return Empty(vm, facts.Host!);
        await transaction.AuditAsync(
            actor, "add_address", vm.Id, $"{taken.Address}, {price.DollarsPerMonth} a month", cancel);
        return new Ordered(taken.Address, price.DollarsPerMonth);
    }

    /// <summary>Why no address can be ordered for a VM now; null: one can. Without locks, for its page.</summary>
    public static async Task<(Problem? Refusal, ExtraPriceRow? Price)> OfferAsync(
        Db db, VmRow vm, int max, DateTime now, CancellationToken cancel)
    {
        var operation = await db.FindAsync<OperationRow>(OperationSql.Newest, new { vm = vm.Id }, cancel);
        var facts = new Facts(vm, operation is { Finished: null },
            await db.FindAsync<AddressFactsRow>(ExtraSql.Facts, new { id = vm.Id, now }, cancel),
            await db.FindAsync<ExtraPriceRow>(ExtraSql.Price, new { kind = Prices.FurtherAddress, now }, cancel),
            await db.AskAsync<BalanceRow>(BillingSql.Balance, new { email = vm.Email, now }, cancel),
            await db.FindAsync<bool>(DunningSql.IsStopped, new { email = vm.Email }, cancel))
        {
            Cap = await db.FindAsync<SpendingCapRow>(SpendingLimitSql.Cap, SpendingCap.Of(vm.Email, now), cancel),
        };
        return (Decide(facts, max, seen: null), facts.Price);
    }
}
