using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>What the machine has that the way out must respect: addresses, resolver, firewall.</summary>
public sealed partial class WayOut
{
    /// <summary>What would stand in the way of a mode that is not private; empty: nothing.</summary>
    /// <param name="folder">The run folder of the sandbox, whether there is one or not.</param>
    /// <param name="outside">The network namespace of the machine, if no sandbox was made for it; null: this
    /// one.</param>
    internal static async Task<string> ObstacleAsync(
        Settings settings, string folder, CancellationToken cancel, string? outside = null)
    {
        var plan = Read<Plan>(Path.Combine(folder, PlanName))
            ?? (outside is null ? null : new Plan(false, "", "", false, outside));
        var machine = await AddressesAsync(plan, cancel);
        if (settings.IsBridged)
            return await BridgeObstacleAsync(settings, Uplink(folder, plan), machine, cancel);
        if (Overlap(machine, settings.RoutedNetworks) is { Length: > 0 } overlap) return overlap;
        var closed = await Uplink(folder, plan).ClosedChainsAsync(cancel);
        return closed.Count == 0 ? "" : "this machine's firewall drops what it forwards "
            + $"({string.Join("; ", closed)}): it must accept what comes from and goes to interfaces capsul-*";
    }

    static async Task<string> BridgeObstacleAsync(
        Settings settings, Uplink uplink, HashSet<IPAddress> machine, CancellationToken cancel)
    {
        if (await uplink.Port.ObstacleAsync(settings.Bridge, cancel) is { Length: > 0 } bridge) return bridge;
        if (InRange(settings.VmRange, machine) is { Length: > 0 } taken) return taken;
        var resolver = Resolver(settings.VmResolver, isPrivate: false) ?? settings.VmGateway;
        if (machine.Contains(resolver))
            return $"VMs would use this machine's resolver, {resolver}, and they do not reach it: set "
                + "CAPSUL_VM_RESOLVER";
        var closed = await uplink.IsBridgeFilteredAsync(cancel) ? await uplink.ClosedChainsAsync(cancel) : [];
        return closed.Count == 0 ? "" : "this machine's firewall drops what its bridges forward "
            + $"({string.Join("; ", closed)}; net.bridge.bridge-nf-call-iptables is 1): it must accept what comes from "
            + "and goes to interfaces capsul-*";
    }

    static string Overlap(IEnumerable<IPAddress> machine, IEnumerable<IPNetwork> networks) =>
        (from network in networks
         from own in machine
         where network.Contains(own)
         select $"{own} is an address of this machine, and VMs cannot have {network} too").FirstOrDefault("");

    /// <summary>Those are for VMs, and the first one is the sandbox's.</summary>
    static string InRange((IPAddress First, IPAddress Last) range, IEnumerable<IPAddress> machine) =>
        machine.FirstOrDefault(a => a.AddressFamily == AddressFamily.InterNetwork
            && Number(a) >= Number(range.First) && Number(a) <= Number(range.Last)) is { } own
            ? $"{own} is an address of this machine, and in CAPSUL_VM_RANGE" : "";

    static uint Number(IPAddress address) => BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes());

    /// <summary>All addresses of the outside machine.</summary>
    static async Task<HashSet<IPAddress>> AddressesAsync(Plan? plan, CancellationToken cancel)
    {
        var result = await Outside(plan, "ip", "-j", "address", "show").RunAsync(cancel);
        using var json = JsonDocument.Parse(result.Output);
        return [.. from card in json.RootElement.EnumerateArray()
                   where card.TryGetProperty("addr_info", out _)
                   from address in card.GetProperty("addr_info").EnumerateArray()
                   where address.TryGetProperty("local", out _)
                   select IPAddress.Parse(address.GetProperty("local").GetString()!)];
    }

    /// <summary>A program with the sockets of the outside.</summary>
    static Command Outside(Plan? plan, string program, params string[] arguments) => (plan?.Outside is null
        ? new Command(program, arguments)
        : new Command("nsenter", [$"--net={plan.Outside}", "--", program, .. arguments])) with
    { Timeout = Limit };

    /// <summary>
    /// As configured, or this machine's first one; null if there is none. IPv4 only. Packets that are routed do not
    /// reach a loopback, so the resolvers that systemd-resolved asks are used instead of its own.
    /// </summary>
    internal static IPAddress? Resolver(string setting, bool isPrivate)
    {
        if (setting != "auto") return IPAddress.Parse(setting);
        var own = FirstResolver("/etc/resolv.conf");
        return own is null || isPrivate || !IPAddress.IsLoopback(own) ? own
            : FirstResolver("/run/systemd/resolve/resolv.conf") is { } next && !IPAddress.IsLoopback(next) ? next
            : null;
    }

    static IPAddress? FirstResolver(string file) => !File.Exists(file) ? null : File.ReadLines(file)
        .Select(l => l.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries))
        .Where(w => w is ["nameserver", _, ..]).Select(w => IPAddress.TryParse(w[1], out var a) ? a : null)
        .FirstOrDefault(a => a is { AddressFamily: AddressFamily.InterNetwork });
}
