using System.Net;
using System.Net.Sockets;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// Bridged mode: one nftables table on the sandbox's bridge, between guests and the machine's bridge. Guests reach
/// there what they would reach through the way out of the other modes (<see cref="WayOutRules"/>); the sandbox itself
/// is not seen there, and sees nothing of it. What reaches guests is decided by <see cref="FilterTable"/>. Connections
/// are not tracked, as there.
/// </summary>
static class BridgeRules
{
    public const string Table = "capsul_lan";

    public const string Remove = $"add table bridge {Table}\ndelete table bridge {Table}\n";

    /// <summary>
    /// The table, as one transaction that replaces the last one. DHCP and redirects pass in neither direction. A guest
    /// sends to all only what it needs to find routers and neighbors. To the machine it answers, and begins nothing:
    /// without SYN alone a TCP packet begins nothing (RFC 9293), and fragments could hide it (RFC 1858).
    /// </summary>
    /// <param name="own">The sandbox's address in the VMs' network.</param>
    /// <param name="machine">All addresses of the machine.</param>
    /// <param name="isOpen">Whether guests get out at all, and are reached.</param>
    /// <param name="mail">Whether they may use TCP port 25.</param>
    public static string Write(IPAddress own, IEnumerable<IPAddress> machine, bool isOpen, bool mail)
    {
        var all = machine.ToLookup(a => a.AddressFamily);
        var closed = isOpen ? "" : "drop";
        return $$"""
            {{Remove}}
            table bridge {{Table}} {
                set machine { type ipv4_addr; {{WayOutRules.Elements(all[AddressFamily.InterNetwork])}} }
                set machine6 { type ipv6_addr; {{WayOutRules.Elements(all[AddressFamily.InterNetworkV6])}} }
                chain outward {
                    type filter hook forward priority -10; policy accept;
                    oifname != "{{WayOutRules.Interface}}" accept
                    iifname != "cap*" drop
                    {{closed}}
                    ether type arp arp daddr ip {{own}} drop
                    ether type arp accept
                    ether type ip ip daddr {{own}} drop
                    ether type ip udp dport 67 drop
                    ether type ip6 udp dport 547 drop
                    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
                    icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept
                    ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 drop
                    ether type ip ip frag-off & 0x1fff == 1 drop
                    ether type ip ip daddr @machine ip frag-off & 0x3fff == 0 jump answers
                    ether type ip6 ip6 daddr @machine6 exthdr frag missing jump answers
                    ether type ip ip daddr @machine drop
                    ether type ip6 ip6 daddr @machine6 drop
                    ether type ip ip daddr { {{WayOutRules.NotOutside}} } drop
                    ether type ip ip daddr { {{WayOutRules.Metadata}} } drop
                    ether type ip6 ip6 daddr { {{WayOutRules.Metadata6}} } drop
                    {{(mail ? "" : "tcp dport 25 drop")}}
                }
                chain answers {
                    tcp flags & (syn | ack) != syn accept
                    icmp type { echo-reply, destination-unreachable, time-exceeded } accept
                    icmpv6 type { echo-reply, destination-unreachable, packet-too-big, time-exceeded } accept
                }
                chain inward {
                    type filter hook forward priority -10; policy accept;
                    iifname != "{{WayOutRules.Interface}}" accept
                    oifname != "cap*" drop
                    {{closed}}
                    ether type arp arp saddr ip {{own}} drop
                    ether type ip udp sport 67 drop
                    ether type ip6 udp sport 547 drop
                    icmp type redirect drop
                    icmpv6 type nd-redirect drop
                }
                chain to_sandbox {
                    type filter hook input priority 0; policy accept;
                    iifname "{{WayOutRules.Interface}}" drop
                }
                chain from_sandbox {
                    type filter hook output priority 0; policy accept;
                    oifname "{{WayOutRules.Interface}}" drop
                }
            }

            """;
    }
}
