using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Ports;

/// <summary>
/// Opens a port of a VM to the outside: a port of its host leads to it, or one of the Hub, for hosts that cannot be
/// reached themselves (TCP only). Which one is chosen for it. Its firewall says who may use it.
/// </summary>
public static class OpenPort
{
    public const string ViaHost = "host", ViaHub = "hub";

    /// <summary>The port of the VM, or the refusal.</summary>
    /// <param name="vm">The VM, or null.</param>
    /// <param name="port">As it was written.</param>
    /// <param name="via">host or hub.</param>
    /// <param name="facts">What is open, and what the host has.</param>
    /// <param name="settings">The limit of an account, and the ports of the Hub.</param>
    public static Outcome<PortOfVm> Decide(VmRow? vm, string? port, string? via, PortFactsRow? facts, Settings settings)
    {
        if (vm is null or { Deleted: not null } || facts is null) return VmAction.NotFound;
        if (vm.Wanted == "gone") return new Problem(ProblemKind.Conflict, "This capsul is being deleted.");
        if (PortOfVm.Parse(port).Refused(out var wrong, out var parsed)) return wrong;
        if (via is not (ViaHost or ViaHub))
            return new Problem(ProblemKind.Invalid, "Choose whose port leads to it: host or hub.") { Field = "Via" };
        if (via == ViaHost && facts.First is null)
            return new Problem(ProblemKind.Conflict, $"{vm.Host} has no ports for that.");
        if (via == ViaHub && settings.HubPorts is null)
            return new Problem(ProblemKind.Conflict, "The Hub has no ports for that.");
        if (parsed.Protocol == PortOfVm.Udp && via == ViaHub)
            return new Problem(ProblemKind.Invalid, "The Hub passes on TCP only. Choose the host for a UDP port.")
            {
                Field = "Protocol",
            };
        if (parsed.Protocol == PortOfVm.Udp && !facts.Udp)
            return new Problem(ProblemKind.Conflict,
                $"{vm.Host} does not pass on UDP: it has an older version of Capsul.");
        if (facts.OfVm >= Wire.Protocol.MaxPorts)
            return new Problem(ProblemKind.Conflict, $"A capsul has at most {Wire.Protocol.MaxPorts} open ports.");
        return facts.OfAccount >= settings.MaxPorts
            ? new Problem(ProblemKind.Conflict, $"Your account has {facts.OfAccount} open ports, the most that it may "
                + "have. Close some, or contact support to raise the limit.")
            : parsed;
    }

    /// <param name="email">The account that asks; null: an operator.</param>
    public static Task<Outcome<PortRow>> RunAsync(Db db, string actor, string? email, string id, string? port,
        string? via, Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<PortRow>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var owner = email
                ?? (await transaction.FindAsync<VmRow>(MoveSql.FindVm, new { id }, cancel))?.Email ?? "";
            // Locks the account first: the number of its ports must not change meanwhile.
            await transaction.FindAsync<int?>(
                VmSql.LockAccount, new { email = owner, max = settings.MaxVms, now }, cancel);
            var vm = await transaction.FindAsync<VmRow>(VmSql.Lock, new { id, email = owner }, cancel);
            // Two VMs of one host must not choose the same port, and what follows tells the host anyway.
            if (vm is not null)
                await transaction.FindAsync<string>(HostSql.LockOne, new { id = vm.Host }, cancel);
            var facts = await transaction.FindAsync<PortFactsRow>(PortSql.Facts, new { id }, cancel);
            if (Decide(vm, port, via, facts, settings).Refused(out var problem, out var opening)) return problem;
            var vmPort = opening.Number;
            var opened = via == ViaHost
                ? await transaction.FindAsync<PortRow>(
                    PortSql.OpenOfHost, new { id, vmPort, protocol = opening.Protocol, host = vm!.Host, now }, cancel)
                : await transaction.FindAsync<PortRow>(PortSql.OpenOfHub, new
                {
                    id,
                    vmPort,
                    now,
                    first = settings.HubPorts!.Value.First,
                    last = settings.HubPorts.Value.Last,
                }, cancel);
            if (opened is null)
                return new Problem(ProblemKind.NoCapacity, "All ports for that are in use. Please tell the operators.");
            await transaction.RenewAsync(vm!, cancel);
            await transaction.AuditAsync(
                actor, "open_port", id, $"{opening} at port {opened.Port} of the {via}", cancel);
            return opened;
        }, cancel);

    /// <summary>
    /// The VM is on another host: what leads to it there. One for which that has no port is closed.
    /// </summary>
    public static async Task FollowAsync(
        NpgsqlTransaction transaction, string id, string host, CancellationToken cancel)
    {
        var ports = await transaction.ListAsync<PortRow>(PortSql.OfVm, new { id }, cancel);
        foreach (var port in ports.Where(p => p.Via == ViaHost))
        {
            var (vmPort, protocol, via) = (port.VmPort, port.Protocol, ViaHost);
            var which = new { id, host, via, vmPort, protocol, port = port.Port };
            if (await transaction.ExecuteAsync(PortSql.Follow, which, cancel) == 0)
                await transaction.ExecuteAsync(PortSql.Close, which, cancel);
        }
    }
}
