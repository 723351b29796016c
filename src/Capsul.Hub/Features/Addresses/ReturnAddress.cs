using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Addresses;

/// <summary>Gives a further address of a VM back. It is charged until then, and cools down.</summary>
public static class ReturnAddress
{
    /// <summary>The extra that it is, or the refusal.</summary>
    public static Outcome<long> Decide(VmRow? vm, bool isBusy, IEnumerable<FurtherAddressRow> further, string address)
    {
        if (vm is null or { Deleted: not null }) return VmAction.NotFound;
        if (further.FirstOrDefault(f => f.Address == address) is not { } row)
            return new Problem(ProblemKind.NotFound, "This is not a further address of this capsul.");
        return isBusy || vm.State is not ("running" or "stopped")
            ? new Problem(ProblemKind.Conflict, OrderAddress.Busy)
            : OrderAddress.CheckHost(vm) is { } silent ? silent : row.Extra;
    }

    /// <param name="email">The account that asks; null: an operator.</param>
    /// <returns>The address.</returns>
    public static Task<Outcome<string>> RunAsync(Db db, string actor, string? email, string id, string? address,
        TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var at = IPAddress.TryParse(address, out var parsed) ? parsed.ToString() : "";
            var (vm, isBusy) = await RescueVm.LockAsync(transaction, email, id, cancel);
            var further = await transaction.ListAsync<FurtherAddressRow>(AddressSql.FurtherOfVm, new { id }, cancel);
            if (Decide(vm, isBusy, further, at).Refused(out var problem, out var extra)) return problem;
            // In lock order: host, usage spans and totals, addresses.
            await transaction.RenewAsync(vm!, cancel);
            var one = new { vm = id, extra, now };
            await transaction.ExecuteAsync(ExtraSql.CloseUsage, one, cancel);
            await transaction.ExecuteAsync(ExtraSql.Remove, one, cancel);
            await transaction.ExecuteAsync(AddressSql.FreeFurther, one, cancel);
            await transaction.AuditAsync(actor, "remove_address", id, at, cancel);
            return at;
        }, cancel);
}
