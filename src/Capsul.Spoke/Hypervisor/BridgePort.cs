using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The connection of bridged mode: a virtual cable, one end of which is a port of the machine's bridge, and the other
/// one of the sandbox's. It has no address, and changes nothing of the machine's bridge: neither its hardware address,
/// which would be that of its lowest port, nor its MTU, which would be the smallest. It is the only one between the two
/// bridges, so there is no loop. <see cref="Uplink"/> takes it away.
/// </summary>
/// <param name="name">The machine's end.</param>
/// <param name="marker">A file that is there as long as there is something to take away.</param>
/// <param name="run">Runs a program in the machine's network.</param>
sealed class BridgePort(string name, string marker, Func<string, string[], Command> run)
{
    /// <summary>Arguments: the machine's end, the sandbox's process, the bridge, hardware address, MTU.</summary>
    const string Make = """
        name=$1 pid=$2 bridge=$3 mac=$4 mtu=$5
        ip link show dev "$name" >/dev/null 2>&1 ||
            ip link add "$name" address "$mac" type veth peer name out0 netns "$pid"
        [ ! -e "/proc/sys/net/ipv6/conf/$name" ] || echo 1 >"/proc/sys/net/ipv6/conf/$name/disable_ipv6"
        ip link set "$name" mtu "$mtu"
        ip link set "$name" master "$bridge" up
        """;

    /// <summary>
    /// The sandbox's end; arguments: its bridge, MTU. That bridge need not know which guest listens to which group: it
    /// would need a router that asks.
    /// </summary>
    const string MakeInside = """
        [ ! -e /proc/sys/net/ipv6/conf/out0 ] || echo 1 >/proc/sys/net/ipv6/conf/out0/disable_ipv6
        ip link set "$1" type bridge mcast_snooping 0 2>/dev/null || :
        ip link set out0 mtu "$2"
        ip link set out0 master "$1" up
        """;

    /// <summary>A bridge of the machine, or why it cannot be used.</summary>
    sealed record Found(int Mtu, string Obstacle);

    /// <summary>
    /// Higher than that of any card, as libvirt's are: a bridge without an own address takes the lowest.
    /// </summary>
    string Mac => $"fe:ca:{string.Join(':', name[^8..].Chunk(2).Select(pair => new string(pair)))}";

    /// <summary>Makes what is missing of it; changes nothing if it is whole.</summary>
    /// <param name="sandbox">Its network is the other end.</param>
    /// <exception cref="ProblemException">Unavailable: there is no such bridge.</exception>
    public async Task EnsureAsync(Sandbox sandbox, string bridge, CancellationToken cancel)
    {
        var found = await FindAsync(bridge, cancel);
        if (found.Obstacle.Length > 0)
            throw new ProblemException(ProblemKind.Unavailable, $"VMs are not connected: {found.Obstacle}.");
        var mtu = found.Mtu.ToString();
        await File.AppendAllTextAsync(marker, "", cancel);
        await run("sh", ["-ec", Make, "sh", name, sandbox.Pid.ToString(), bridge, Mac, mtu]).RunAsync(cancel);
        await sandbox.Inside("sh", "-ec", MakeInside, "sh", NetworkXml.Bridge, mtu).RunAsync(cancel);
    }

    /// <summary>What is wrong with a bridge of the machine; empty: nothing.</summary>
    public async Task<string> ObstacleAsync(string bridge, CancellationToken cancel) =>
        (await FindAsync(bridge, cancel)).Obstacle;

    /// <summary>The bridge that the machine's end is a port of; empty: none; null: there is no such end.</summary>
    public async Task<string?> MasterAsync(CancellationToken cancel)
    {
        using var json = await ShowAsync(name, cancel);
        return json is null ? null
            : json.RootElement[0].TryGetProperty("master", out var master) ? master.GetString() : "";
    }

    async Task<Found> FindAsync(string bridge, CancellationToken cancel)
    {
        using var json = await ShowAsync(bridge, cancel);
        if (json is null) return new Found(0, $"this machine has no bridge {bridge} (CAPSUL_BRIDGE)");
        var card = json.RootElement[0];
        var isBridge = card.TryGetProperty("linkinfo", out var info)
            && info.TryGetProperty("info_kind", out var kind) && kind.GetString() == "bridge";
        return new Found(card.GetProperty("mtu").GetInt32(),
            isBridge ? "" : $"{bridge} (CAPSUL_BRIDGE) is not a bridge");
    }

    async Task<JsonDocument?> ShowAsync(string card, CancellationToken cancel)
    {
        var shown = await run("ip", ["-j", "-d", "link", "show", "dev", card]).TryRunAsync(cancel);
        return shown.ExitCode == 0 ? JsonDocument.Parse(shown.Output) : null;
    }
}
