using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Lets a VM send only from its own MAC and its own IPv4 and IPv6 address: one nftables table on the bridge's ports.
/// Unknown traffic is dropped, so a tap without an entry cannot send anything, and a new VM is never unfiltered.
/// libvirt's nwfilter is not used: its <c>clean-traffic</c> starts dozens of ebtables processes for each VM and made a
/// start 1.7 s slower (0.6 to 2.3 s), against about 20 ms for the one <c>nft</c> here. The whole table can be
/// inspected with <c>nft list table bridge capsul</c>.
/// </summary>
/// <param name="program">Creates the command that runs nft in the bridge's network namespace.</param>
sealed class Filter(Func<string[], Command> program)
{
    /// <summary>
    /// Two sets, because before DHCP has answered a guest has no IP address. Other protocols (VLAN) are dropped like
    /// everything unknown; a guest also may not answer DHCP requests of others. A third set contains the hardware
    /// address that a tap may use inside DHCP (chaddr, RFC 2131: 28 bytes into the message, after 8 of UDP): with
    /// another guest's, a DHCPDECLINE would take away that guest's address. Fragments are dropped because they could
    /// hide it.
    /// IPv6: a guest's addresses are the one from the Hub and the link-local one of its MAC (EUI-64). It may not
    /// advertise itself as a router, redirect, or answer DHCPv6; it may advertise, and claim before it has an address,
    /// only addresses of its own (<c>targets</c>: 16 bytes that begin 8 bytes into the message, RFC 4861 4.3 and 4.4).
    /// Fragments to the link are dropped because they could hide all of that (RFC 6980).
    /// </summary>
    const string Table = """
        table bridge capsul {
            set macs { type ifname . ether_addr; }
            set guests { type ifname . ether_addr . ipv4_addr; }
            set clients { typeof iifname . @th,288,48; }
            set guests6 { type ifname . ether_addr . ipv6_addr; }
            set targets { typeof iifname . @th,64,128; }
            chain guests_in {
                type filter hook prerouting priority -300; policy accept;
                iifname != "cap*" accept
                iifname "capsul0" accept
                iifname . ether saddr != @macs drop
                ether type ip ip frag-off & 0x3fff != 0 udp dport 67 drop
                ether type ip udp dport 67 iifname . @th,288,48 != @clients drop
                ether type arp arp htype 1 arp ptype 0x0800 iifname . arp saddr ether . arp saddr ip @guests accept
                ether type arp arp saddr ip 0.0.0.0 accept
                ether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept
                ether type ip udp sport 67 drop
                ether type ip iifname . ether saddr . ip saddr @guests accept
                ether type ip6 exthdr frag exists ip6 daddr { fe80::/10, ff00::/8 } drop
                ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } drop
                ether type ip6 udp sport 547 drop
                ether type ip6 icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @targets drop
                ether type ip6 ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @targets accept
                ether type ip6 ip6 saddr :: icmpv6 type { nd-router-solicit, mld2-listener-report } accept
                ether type ip6 iifname . ether saddr . ip6 saddr @guests6 accept
                drop
            }
        }
        """;

    /// <summary>What each tap was last allowed, so that a change is detected without a query.</summary>
    readonly ConcurrentDictionary<string, string> known = new(StringComparer.Ordinal);

    /// <summary>Creates the table if it is missing or from an earlier version, and allows the given VMs.</summary>
    /// <param name="guests">Taps with the MAC and address of their VMs.</param>
    public async Task PrepareAsync(
        IEnumerable<(string Tap, string Mac, IPAddress Address, IPAddress? Address6)> guests, CancellationToken cancel)
    {
        var isCurrent =
            (await program(["list", "set", "bridge", "capsul", "targets"]).TryRunAsync(cancel)).ExitCode == 0;
        var all = string.Concat(guests.Select(g => Allow(g.Tap, g.Mac, g.Address, g.Address6)));
        // One transaction: there is no moment without rules. Adding the table first lets the delete succeed if there is
        // none.
        if (!isCurrent) all = $"add table bridge capsul\ndelete table bridge capsul\n{Table}\n{all}";
        if (all.Length > 0) await RunAsync(all, cancel);
    }

    /// <summary>Lets a VM's tap send from this MAC and address, and no longer from an older one.</summary>
    public async Task AllowAsync(
        string tap, string mac, IPAddress address, IPAddress? address6, CancellationToken cancel)
    {
        var wanted = Allow(tap, mac, address, address6);
        if (known.TryGetValue(tap, out var before) && before != wanted) await ForbidAsync(tap, cancel);
        await RunAsync(wanted, cancel);
        known[tap] = wanted;
    }

    /// <summary>Removes all entries of a tap.</summary>
    public async Task ForbidAsync(string tap, CancellationToken cancel)
    {
        known.TryRemove(tap, out _);
        var listed = await program(["-j", "list", "table", "bridge", "capsul"]).RunAsync(cancel);
        var text = string.Concat(Elements(listed.Output).Where(e => e.Parts[0] == tap)
            .Select(e =>
                $"delete element bridge capsul {e.Set} {{ \"{tap}\" . {string.Join(" . ", e.Parts.Skip(1))} }}\n"));
        if (text.Length > 0) await RunAsync(text, cancel);
    }

    /// <summary>The elements of all sets in the output of <c>nft -j list</c>, each as its set and its parts.</summary>
    internal static IReadOnlyList<(string Set, string[] Parts)> Elements(string json)
    {
        using var document = JsonDocument.Parse(json);
        var found = new List<(string, string[])>();
        foreach (var item in document.RootElement.GetProperty("nftables").EnumerateArray())
        {
            if (!item.TryGetProperty("set", out var set) || !set.TryGetProperty("elem", out var elements)) continue;
            foreach (var element in elements.EnumerateArray())
                found.Add((set.GetProperty("name").GetString()!, [.. element.GetProperty("concat")
                    .EnumerateArray().Select(e => e.ToString())]));
        }
        return found;
    }

    static string Allow(string tap, string mac, IPAddress address, IPAddress? address6)
    {
        var link = LinkLocal(mac);
        var text = $$"""
            add element bridge capsul macs { "{{tap}}" . {{mac}} }
            add element bridge capsul guests { "{{tap}}" . {{mac}} . {{address}} }
            add element bridge capsul clients { "{{tap}}" . {{Hex(Bytes(mac))}} }

            """;
        foreach (var own in address6 is null ? [] : (IPAddress[])[link, address6])
            text += $$"""
                add element bridge capsul guests6 { "{{tap}}" . {{mac}} . {{own}} }
                add element bridge capsul targets { "{{tap}}" . {{Hex(own.GetAddressBytes())}} }

                """;
        return text;
    }

    internal static IPAddress LinkLocal(string mac) => Derive(IPAddress.Parse("fe80::"), mac);

    /// <summary>The address that a guest with this MAC gives itself in a /64 (RFC 4291, appendix A).</summary>
    internal static IPAddress Derive(IPAddress network, string mac)
    {
        var bytes = Bytes(mac);
        return new IPAddress([.. network.GetAddressBytes()[..8],
            (byte)(bytes[0] ^ 2), bytes[1], bytes[2], 0xff, 0xfe, bytes[3], bytes[4], bytes[5]]);
    }

    static byte[] Bytes(string mac) => Convert.FromHexString(mac.Replace(":", "", StringComparison.Ordinal));

    static string Hex(byte[] bytes) => "0x" + Convert.ToHexStringLower(bytes);

    async Task RunAsync(string rules, CancellationToken cancel) =>
        await (program(["-f", "-"]) with { Input = rules }).RunAsync(cancel);
}
