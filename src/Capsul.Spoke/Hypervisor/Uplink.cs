using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// The connection of routed and nat mode: a pair of virtual cables between the machine's network and the sandbox's, a
/// route of the machine to the VMs' networks, forwarding, and one nftables table, which translates private addresses
/// and keeps the machine from forwarding anything else. Everything of it has a name of its own, is made again when it
/// is missing, and is taken away when the mode changes or the sandbox is removed; what the machine had set before is
/// remembered in the sandbox's run folder.
/// </summary>
/// <param name="folder">The sandbox's run folder, whose name tells it from others on this machine.</param>
/// <param name="run">Runs a program in the machine's network.</param>
sealed class Uplink(string folder, Func<string, string[], Command> run)
{
    /// <summary>
    /// Arguments: the machine's end, the sandbox's process, both link addresses, the file of what was set before, then
    /// the networks to route (family and network, one argument each). Forwarding is a matter of each interface for
    /// IPv4; for IPv6 it is one of the machine, and makes interfaces ignore routers (accept_ra 1) unless they are told
    /// to listen all the same (2; ip-sysctl in the kernel's documentation).
    /// </summary>
    const string Make = """
        name=$1 pid=$2 here=$3 there=$4 before=$5; shift 5
        set_to() {
            [ -e "$1" ] || return 0
            old=$(cat "$1")
            [ "$old" != "$2" ] || return 0
            echo "$1 $old" >>"$before"
            echo "$2" >"$1"
        }
        touch "$before"
        outside() { ip "$1" -o route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | sort -u; }
        ip link show dev "$name" >/dev/null 2>&1 || ip link add "$name" type veth peer name out0 netns "$pid"
        ip address replace "$here/30" dev "$name"
        ip link set "$name" up
        echo 1 >"/proc/sys/net/ipv4/conf/$name/forwarding"
        for network in "$@"; do
            case $network in
            *:*)
                for card in $(outside -6); do
                    file=/proc/sys/net/ipv6/conf/$card/accept_ra
                    [ "$(cat "$file" 2>/dev/null)" != 1 ] || set_to "$file" 2
                done
                set_to /proc/sys/net/ipv6/conf/all/forwarding 1
                ip -6 address replace fe80::1/64 dev "$name" nodad
                ip -6 route replace "$network" via fe80::2 dev "$name" ;;
            *)
                for card in $(outside -4); do set_to "/proc/sys/net/ipv4/conf/$card/forwarding" 1; done
                ip route replace "$network" via "$there" dev "$name" ;;
            esac
        done
        """;

    /// <summary>The sandbox's end; arguments: both link addresses.</summary>
    const string MakeInside = """
        ip address replace "$2/30" dev out0
        ip link set out0 up
        ip route replace default via "$1" dev out0
        [ ! -e /proc/sys/net/ipv6/conf/out0 ] || {
            ip -6 address replace fe80::2/64 dev out0 nodad
            ip -6 route replace default via fe80::1 dev out0
        }
        """;

    /// <summary>The routes end with the cable. What was set last is put back first.</summary>
    const string Remove = """
        ip link delete "$1" 2>/dev/null || ! ip link show dev "$1" >/dev/null 2>&1
        nft delete table inet "$2" 2>/dev/null || ! nft list table inet "$2" >/dev/null 2>&1
        tac "$3" | while read -r file value; do [ ! -e "$file" ] || echo "$value" >"$file"; done
        rm "$3"
        """;

    /// <summary>Those of all sandboxes on this machine.</summary>
    const string All = "capsul-*";

    /// <summary>One per sandbox; at most 15 characters (IFNAMSIZ).</summary>
    string Name => $"capsul-{Short}";

    string Table => $"capsul_{Short}";
    string Short => Path.GetFileName(folder);

    /// <summary>There as long as there is something to take away.</summary>
    string BeforeFile => Path.Combine(folder, "machine-before");

    /// <summary>
    /// Link-local addresses of the cable: 169.254.64.0/18 in pieces of four, so that several sandboxes on a machine
    /// have different ones.
    /// </summary>
    internal static (IPAddress Here, IPAddress There) Link(string name)
    {
        var piece = Convert.ToUInt32(name, 16) % (1 << 12);
        var first = 0xa9fe4000u + piece * 4;
        return (Address(first + 1), Address(first + 2));

        static IPAddress Address(uint number)
        {
            var bytes = new byte[4];
            BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
            return new IPAddress(bytes);
        }
    }

    /// <summary>Makes what is missing of it; changes nothing if it is whole.</summary>
    /// <param name="sandbox">Its network is the other end.</param>
    /// <param name="routed">The VMs' networks.</param>
    /// <param name="translated">Those of them whose packets leave with the machine's address.</param>
    public async Task EnsureAsync(Sandbox sandbox, IReadOnlyList<IPNetwork> routed,
        IReadOnlyList<IPNetwork> translated, CancellationToken cancel)
    {
        var (here, there) = Link(Short);
        await run("sh", ["-ec", Make, "sh", Name, sandbox.Pid.ToString(), here.ToString(), there.ToString(),
            BeforeFile, .. routed.Select(r => r.ToString())]).RunAsync(cancel);
        await sandbox.Inside("sh", "-ec", MakeInside, "sh", here.ToString(), there.ToString()).RunAsync(cancel);
        IReadOnlyList<string> rules = [.. translated.Select(Translate), .. await GuardsAsync(cancel)];
        var listed = await run("nft", ["list", "table", "inet", Table]).TryRunAsync(cancel);
        var found = listed.Output.Split('\n').Select(l => l.Trim())
            .Where(l => l.EndsWith("masquerade", StringComparison.Ordinal)
                || l.EndsWith("drop", StringComparison.Ordinal));
        if (listed.ExitCode == 0 && found.SequenceEqual(rules, StringComparer.Ordinal)) return;
        await (run("nft", ["-f", "-"]) with { Input = Text(rules) }).RunAsync(cancel);
    }

    /// <summary>
    /// The machine becomes a router for the VMs only: what it would not have forwarded before is dropped. Where
    /// somebody else has made it a router, that is theirs: ip_forward is not what is set here for IPv4.
    /// </summary>
    async Task<IEnumerable<string>> GuardsAsync(CancellationToken cancel)
    {
        var four = await run("cat", ["/proc/sys/net/ipv4/ip_forward"]).TryRunAsync(cancel);
        var before = await File.ReadAllTextAsync(BeforeFile, cancel);
        return ((string[])[four.Output.Trim() == "0" ? "ipv4" : "",
            before.Contains("ipv6/conf/all/forwarding 0", StringComparison.Ordinal) ? "ipv6" : ""])
            .Where(f => f.Length > 0)
            .Select(f => $"meta nfproto {f} iifname != \"{All}\" oifname != \"{All}\" drop");
    }

    /// <summary>Quick if there is nothing of it.</summary>
    public async Task RemoveAsync(CancellationToken cancel)
    {
        if (File.Exists(BeforeFile))
            await run("sh", ["-ec", Remove, "sh", Name, Table, BeforeFile]).RunAsync(cancel);
    }

    /// <summary>The same cable, as a port of a bridge.</summary>
    public BridgePort Port => new(Name, BeforeFile, run);

    /// <summary>Whether the sandbox is connected.</summary>
    public async Task<bool> IsThereAsync(CancellationToken cancel) =>
        (await run("ip", ["link", "show", "dev", Name, "up"]).TryRunAsync(cancel)).Output.Length > 0;

    /// <summary>Whether frames between ports of a bridge pass the machine's firewall (br_netfilter).</summary>
    public async Task<bool> IsBridgeFilteredAsync(CancellationToken cancel) =>
        (await run("cat", ["/proc/sys/net/bridge/bridge-nf-call-iptables"]).TryRunAsync(cancel)).Output.Trim() == "1";

    /// <summary>
    /// The machine's own chains that drop whatever it forwards and no rule accepts, such as Docker's; empty: none.
    /// </summary>
    public async Task<IReadOnlyList<string>> ClosedChainsAsync(CancellationToken cancel)
    {
        var listed = await run("nft", ["-j", "list", "chains"]).TryRunAsync(cancel);
        if (listed.ExitCode != 0) return [];
        using var json = JsonDocument.Parse(listed.Output);
        return [.. from item in json.RootElement.GetProperty("nftables").EnumerateArray()
                   where item.TryGetProperty("chain", out var chain) && Is(chain, "hook", "forward")
                       && Is(chain, "policy", "drop")
                   let chain = item.GetProperty("chain")
                   select $"{chain.GetProperty("family")} {chain.GetProperty("table")} {chain.GetProperty("name")}"];

        static bool Is(JsonElement chain, string name, string value) =>
            chain.TryGetProperty(name, out var found) && found.GetString() == value;
    }

    /// <summary>No chain without a rule: one that translates makes the machine track all its connections.</summary>
    string Text(IReadOnlyList<string> rules) => $$"""
        add table inet {{Table}}
        delete table inet {{Table}}
        table inet {{Table}} {
            {{Chain("source", "nat hook postrouting priority 100", rules, "masquerade")}}
            {{Chain("through", "filter hook forward priority 0", rules, "drop")}}
        }

        """;

    static string Chain(string name, string hook, IEnumerable<string> rules, string verdict)
    {
        var lines = string.Join("; ", rules.Where(r => r.EndsWith(verdict, StringComparison.Ordinal)));
        return lines.Length == 0 ? "" : $"chain {name} {{ type {hook}; policy accept; {lines}; }}";
    }

    /// <summary>As nft lists it again.</summary>
    string Translate(IPNetwork network) =>
        $"{(network.BaseAddress.AddressFamily == AddressFamily.InterNetwork ? "ip" : "ip6")} saddr {network} "
        + $"oifname != \"{Name}\" masquerade";
}
