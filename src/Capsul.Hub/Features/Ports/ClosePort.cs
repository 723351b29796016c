using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Ports;

/// <summary>Closes a port of a VM to the outside. Connections through it end.</summary>
public static class ClosePort
{
    /// <param name="email">The account that asks; null: an operator.</param>
    /// <returns>The VM's port.</returns>
    public static Task<Outcome<PortOfVm>> RunAsync(
        Db db, string actor, string? email, string id, string? port, string? via, CancellationToken cancel) =>
        db.DecideAsync<PortOfVm>(async transaction =>
        {
            var vm = await (email is null
                ? transaction.FindAsync<VmRow>(VmSql.LockAny, new { id }, cancel)
                : transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email }, cancel));
            if (vm is null or { Deleted: not null }) return VmAction.NotFound;
            if (PortOfVm.Parse(port).Refused(out _, out var open)
                || await transaction.ExecuteAsync(PortSql.Close,
                    new { id, via = via ?? "", vmPort = open.Number, protocol = open.Protocol }, cancel) == 0)
                return new Problem(ProblemKind.NotFound, "There is no such open port.");
            await transaction.RenewAsync(vm, cancel);
            await transaction.AuditAsync(actor, "close_port", id, $"{open} via {via}", cancel);
            return open;
        }, cancel);
}
