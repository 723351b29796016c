using System.Net;
using System.Net.Sockets;
using Capsul.Wire;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The text of the nftables table that is between VMs and everything else.</summary>
static class FilterTable
{
    /// <summary>Of connections that the Spoke and its relay make: they always pass.</summary>
    public const int Mark = 0x63617073;

    /// <summary>Of packets that are routed to a VM from outside: only its firewall lets them pass.</summary>
    public const int FromOutside = 0x63617070;

    /// <summary>The last one is new: by it a table of an earlier version is told from this one.</summary>
    public static readonly string[] Chains =
        ["guests_in", "guests_talk", "replies", "to_guests", "from_gateway", "from_lan"];

    /// <summary>
    /// What VMs send. Two sets, because before DHCP has answered a guest has no IP address. Other protocols (VLAN) are
    /// dropped like everything unknown; a guest also may not answer DHCP requests of others. A third set contains the
    /// hardware address that a tap may use inside DHCP (chaddr, RFC 2131: 28 bytes into the message, after 8 of UDP):
    /// with another guest's, a DHCPDECLINE would take away that guest's address. Fragments are dropped because they
    /// could hide it.
    /// IPv6: a guest's addresses are the one from the Hub and the link-local one of its MAC (EUI-64). It may not
    /// advertise itself as a router, redirect, or answer DHCPv6; it may advertise, and claim before it has an address,
    /// only addresses of its own (<c>targets</c>: 16 bytes that begin 8 bytes into the message, RFC 4861 4.3 and 4.4).
    /// Fragments to the link are dropped because they could hide all of that (RFC 6980).
    /// What reaches VMs. Connections are not tracked, because few kernels track them on bridges: without SYN alone (RFC
    /// 9293) a TCP packet begins nothing, and UDP passes where the guest has sent to (<c>talks</c>). Of fragments the
    /// first decides; one that begins within the TCP header could change it (RFC 1858). Then come the guests of the
    /// same account, if the VM is open, and the chain of the VM. A tap without one gets nothing new. On a bridge of the
    /// machine others are outside, too (<c>from_lan</c>), and their router is the VM's.
    /// </summary>
    public static readonly string Text = $$"""
        table bridge capsul {
            set macs { type ifname . ether_addr; }
            set guests { type ifname . ether_addr . ipv4_addr; }
            set clients { typeof iifname . @th,288,48; }
            set guests6 { type ifname . ether_addr . ipv6_addr; }
            set targets { typeof iifname . @th,64,128; }
            set open { type ifname; }
            set friends { type ifname . ifname; }
            map firewalls { type ifname : verdict; }
            set talks {
                type ifname . ipv4_addr . inet_service . inet_service
                flags dynamic,timeout
                size 65536
                timeout 2m
            }
            set talks6 {
                type ifname . ipv6_addr . inet_service . inet_service
                flags dynamic,timeout
                size 65536
                timeout 2m
            }
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
            chain guests_talk {
                type filter hook prerouting priority -290; policy accept;
                iifname != "cap*" accept
                iifname "capsul0" accept
                ether type ip udp dport 0-65535 update @talks { iifname . ip daddr . udp dport . udp sport }
                ether type ip6 udp dport 0-65535 update @talks6 { iifname . ip6 daddr . udp dport . udp sport }
            }
            chain replies {
                ether type arp accept
                ether type ip ip frag-off & 0x1fff == 1 drop
                ether type ip ip frag-off & 0x1fff != 0 accept
                ether type ip6 frag frag-off != 0 accept
                tcp flags & (syn | ack) != syn accept
                ether type ip udp sport 0-65535 oifname . ip saddr . udp sport . udp dport @talks accept
                ether type ip6 udp sport 0-65535 oifname . ip6 saddr . udp sport . udp dport @talks6 accept
                icmp type { echo-reply, destination-unreachable, time-exceeded, parameter-problem } accept
                icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } accept
                icmpv6 type { echo-reply, nd-neighbor-solicit, nd-neighbor-advert } accept
            }
            chain from_lan {
                icmp type echo-request accept
                icmpv6 type { echo-request, nd-router-advert, mld-listener-query } accept
                oifname @open accept
            }
            chain to_guests {
                type filter hook forward priority 0; policy accept;
                oifname != "cap*" accept
                jump replies
                oifname @open iifname . oifname @friends accept
                iifname "{{WayOutRules.Interface}}" jump from_lan
                oifname vmap @firewalls
                drop
            }
            chain from_gateway {
                type filter hook output priority 0; policy accept;
                oifname != "cap*" accept
                oifname "capsul0" accept
                jump replies
                meta mark {{Mark}} accept
                meta mark != {{FromOutside}} tcp dport 22 accept
                ether type ip udp sport 67 udp dport 68 accept
                icmp type echo-request accept
                icmpv6 type { echo-request, nd-router-advert, mld-listener-query } accept
                oifname @open accept
                oifname vmap @firewalls
                drop
            }
        }
        """;

    public static string Chain(string tap) => $"fw_{tap}";

    /// <summary>What a VM may send as its own.</summary>
    public static string Addresses(Guest guest)
    {
        var (tap, mac) = (guest.Tap, guest.Mac);
        var text = $$"""
            add element bridge capsul macs { "{{tap}}" . {{mac}} }
            add element bridge capsul guests { "{{tap}}" . {{mac}} . {{guest.Address}} }
            add element bridge capsul clients { "{{tap}}" . {{Hex(Filter.Bytes(mac))}} }

            """;
        foreach (var further in guest.Further)
            text += $$"""
                add element bridge capsul guests { "{{tap}}" . {{mac}} . {{further}} }

                """;
        foreach (var own in guest.Address6 is null ? [] : (IPAddress[])[Filter.LinkLocal(mac), guest.Address6])
            text += $$"""
                add element bridge capsul guests6 { "{{tap}}" . {{mac}} . {{own}} }
                add element bridge capsul targets { "{{tap}}" . {{Hex(own.GetAddressBytes())}} }

                """;
        return text;
    }

    /// <summary>What may reach a VM; replaces what there is of it.</summary>
    public static string Rules(Guest guest)
    {
        var (tap, chain) = (guest.Tap, Chain(guest.Tap));
        // Added first, so that it can be deleted whether it was there or not.
        var open = $$"""add element bridge capsul open { "{{tap}}" }""";
        return $$"""
            add chain bridge capsul {{chain}}
            flush chain bridge capsul {{chain}}
            {{string.Concat(Lines(guest.Firewall).Select(l => $"add rule bridge capsul {chain} {l}\n"))}}
            add element bridge capsul firewalls { "{{tap}}" : jump {{chain}} }
            {{open}}
            {{(guest.Firewall is { Open: true } ? "" : "delete" + open["add".Length..])}}

            """;
    }

    /// <summary>Both are VMs of one account.</summary>
    public static string Friends(string tap, string other) => $$"""
        add element bridge capsul friends { "{{tap}}" . "{{other}}" }
        add element bridge capsul friends { "{{other}}" . "{{tap}}" }

        """;

    /// <summary>Of a Hub that knows no firewalls: everything, as before.</summary>
    internal static IEnumerable<string> Lines(Firewall? firewall)
    {
        if (firewall is null) return ["accept"];
        return firewall.Rules.Select(r =>
            $"{Source(r.Source)}{(r.Protocol == IpProtocol.Udp ? "udp" : "tcp")} dport {r.First}-{r.Last} accept");
    }

    static string Source(IPNetwork? source) => source is not { } network ? ""
        : network.BaseAddress.AddressFamily == AddressFamily.InterNetwork
            ? $"ether type ip ip saddr {network} " : $"ether type ip6 ip6 saddr {network} ";

    static string Hex(byte[] bytes) => "0x" + Convert.ToHexStringLower(bytes);
}
