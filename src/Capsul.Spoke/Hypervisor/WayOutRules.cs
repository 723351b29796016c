using System.Net;
using System.Net.Sockets;

namespace Capsul.Spoke.Hypervisor;

/// <summary>
/// What guests may do through the way out: one nftables table in the sandbox's network. Everything that is not listed
/// is dropped, in both directions.
/// </summary>
static class WayOutRules
{
    public const string Table = "capsul_out";

    /// <summary>The interface that leads out of the sandbox.</summary>
    public const string Interface = "out0";

    /// <summary>
    /// Where the helper answers for a resolver that only this machine reaches, such as 127.0.0.53. Link-local, so that
    /// it is nobody's; guests cannot use it directly.
    /// </summary>
    public static readonly IPAddress LocalResolver = IPAddress.Parse("169.254.1.53");

    /// <summary>
    /// Metadata services that are not link-local, by the documents of the providers: Azure, Alibaba Cloud and Oracle;
    /// AWS, Google Cloud and Scaleway.
    /// </summary>
    public const string Metadata = "168.63.129.16, 100.100.100.200, 192.0.0.192",
        Metadata6 = "fd00:ec2::254, fd20:ce::254, fd00:42::42";

    /// <summary>No machine outside has one of these.</summary>
    public const string NotOutside = "0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3";

    /// <summary>
    /// The table, as one transaction that replaces the last one. The helper's sockets are the machine's own, so a
    /// packet to an address of the machine would arrive at its services, whatever interface they listen on: these are
    /// refused here. So are the metadata services of clouds, which may hand out the machine's own credentials. The mark
    /// tells the guests' filter that a packet is not the sandbox's own.
    /// </summary>
    /// <param name="gateway">The address of the sandbox in the VMs' network; also their resolver.</param>
    /// <param name="resolver">Where queries to it go; null: nowhere.</param>
    /// <param name="machine">All addresses of the machine.</param>
    /// <param name="isOpen">Whether guests get out at all.</param>
    /// <param name="mail">Whether they may use TCP port 25.</param>
    /// <param name="open">Networks of guests that are reached from outside, as their firewalls allow; null: the way
    /// out is the helper's, which needs the sandbox's own address.</param>
    public static string Write(IPAddress gateway, IPAddress? resolver, IEnumerable<IPAddress> machine, bool isOpen,
        bool mail, IReadOnlyList<IPNetwork>? open)
    {
        var all = machine.ToLookup(a => a.AddressFamily);
        return $$"""
            add table inet {{Table}}
            delete table inet {{Table}}
            table inet {{Table}} {
                set machine { type ipv4_addr; {{Elements(all[AddressFamily.InterNetwork])}} }
                set machine6 { type ipv6_addr; {{Elements(all[AddressFamily.InterNetworkV6])}} }
                chain resolver {
                    type nat hook prerouting priority -100; policy accept;
                    {{(resolver is null || !isOpen ? "" : $"iifname \"{NetworkXml.Bridge}\" ip daddr {gateway} "
                        + $"meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {resolver}")}}
                }
                chain source {
                    type nat hook postrouting priority 100; policy accept;
                    {{(open is null ? $"oifname \"{Interface}\" masquerade" : "")}}
                }
                chain through {
                    type filter hook forward priority 0; policy drop;
                    {{(open is null ? "" : $"iifname \"{Interface}\" meta mark set {FilterTable.FromOutside}")}}
                    {{(isOpen ? "ct state established,related accept" : "")}}
                    {{string.Concat((isOpen ? open ?? [] : []).Select(In))}}
                    iifname != "{{NetworkXml.Bridge}}" drop
                    oifname != "{{Interface}}" drop
                    {{(isOpen ? "ct status dnat accept" : "drop")}}
                    ip daddr @machine reject
                    ip6 daddr @machine6 reject
                    ip daddr { {{NotOutside}} } reject
                    ip daddr { {{Metadata}} } reject
                    ip6 daddr { ::/96, ::ffff:0:0/96, fe80::/10, ff00::/8 } reject
                    ip6 daddr { {{Metadata6}} } reject
                    {{(mail ? "" : "tcp dport 25 reject with tcp reset")}}
                    accept
                }
                chain sandbox {
                    type filter hook input priority 0; policy drop;
                    iifname "lo" accept
                    ct state established,related accept
                    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                    iifname "{{NetworkXml.Bridge}}" icmpv6 type { nd-router-solicit, echo-request } accept
                    iifname "{{NetworkXml.Bridge}}" udp dport 67 accept
                    iifname "{{NetworkXml.Bridge}}" icmp type echo-request accept
                    iifname "{{NetworkXml.Bridge}}" reject
                }
            }

            """;
    }

    static string In(IPNetwork network)
    {
        var family = network.BaseAddress.AddressFamily == AddressFamily.InterNetwork ? "ip" : "ip6";
        return $"iifname \"{Interface}\" oifname \"{NetworkXml.Bridge}\" {family} daddr {network} accept; ";
    }

    public static string Elements(IEnumerable<IPAddress> addresses)
    {
        var text = string.Join(", ", addresses.Select(a => a.ToString()).Order(StringComparer.Ordinal).Distinct());
        return text.Length == 0 ? "" : $"elements = {{ {text} }};";
    }
}
