using System.Net;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Lets a VM speak with its own MAC and IPv4 address only: one nftables table on the bridge's ports. What is not known is
/// dropped, so a tap without an entry is mute; there is no moment at which a new VM is unguarded. Not libvirt's nwfilter: its
/// <c>clean-traffic</c> starts dozens of ebtables processes for each VM and made a start 1.7 s slower (0.6 to 2.3 s), against
/// about 20 ms for the one <c>nft</c> here, and it is one list that can be read: <c>nft list table bridge capsul</c>.
/// </summary>
/// <param name="program">Makes the command that runs nft where the bridge is.</param>
sealed class Filter(Func<string[], Command> program)
{
    /// <summary>
    /// Two sets, because before DHCP has answered a guest has no address to be known by. Other protocols (IPv6, VLAN) are
    /// dropped as everything unknown; a guest also never answers DHCP requests of others.
    /// </summary>
    const string Table = """
        table bridge capsul {
            set macs { type ifname . ether_addr; }
            set guests { type ifname . ether_addr . ipv4_addr; }
            chain guests_in {
                type filter hook prerouting priority -300; policy accept;
                iifname != "cap*" accept
                iifname "capsul0" accept
                iifname . ether saddr != @macs drop
                ether type arp arp htype 1 arp ptype 0x0800 iifname . arp saddr ether . arp saddr ip @guests accept
                ether type arp arp saddr ip 0.0.0.0 accept
                ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
                ether type ip udp sport 67 drop
                ether type ip iifname . ether saddr . ip saddr @guests accept
                drop
            }
        }
        """;

    /// <summary>Makes the table when it is not there; keeps one that is, with all its entries.</summary>
    public async Task PrepareAsync(CancellationToken cancel)
    {
        if ((await program(["list", "chain", "bridge", "capsul", "guests_in"]).TryRunAsync(cancel)).ExitCode == 0) return;
        await RunAsync(Table, cancel);
    }

    /// <summary>Lets a VM's tap speak with this MAC and address. Quick no-op when it is there; an older entry of the tap goes.</summary>
    public async Task AllowAsync(string tap, string mac, IPAddress address, CancellationToken cancel) =>
        await RunAsync($"add element bridge capsul macs {{ \"{tap}\" . {mac} }}\nadd element bridge capsul guests {{ \"{tap}\" . {mac} . {address} }}\n", cancel);

    /// <summary>Takes all entries of a tap away.</summary>
    public async Task ForbidAsync(string tap, CancellationToken cancel)
    {
        foreach (var set in (string[])["guests", "macs"])
        {
            var listed = await program(["-j", "list", "set", "bridge", "capsul", set]).TryRunAsync(cancel);
            if (listed.ExitCode != 0) return;
            var lines = Elements(listed.Output).Where(e => e[0] == tap)
                .Select(e => $"delete element bridge capsul {set} {{ \"{e[0]}\" . {string.Join(" . ", e.Skip(1))} }}\n");
            var text = string.Concat(lines);
            if (text.Length > 0) await RunAsync(text, cancel);
        }
    }

    /// <summary>The elements of the set in what <c>nft -j list set</c> prints, each as its parts.</summary>
    internal static IReadOnlyList<string[]> Elements(string json)
    {
        using var document = JsonDocument.Parse(json);
        var found = new List<string[]>();
        foreach (var item in document.RootElement.GetProperty("nftables").EnumerateArray())
        {
            if (!item.TryGetProperty("set", out var set) || !set.TryGetProperty("elem", out var elements)) continue;
            foreach (var element in elements.EnumerateArray())
                found.Add([.. element.GetProperty("concat").EnumerateArray().Select(e => e.GetString()!)]);
        }
        return found;
    }

    async Task RunAsync(string rules, CancellationToken cancel) => await (program(["-f", "-"]) with { Input = rules }).RunAsync(cancel);
}
