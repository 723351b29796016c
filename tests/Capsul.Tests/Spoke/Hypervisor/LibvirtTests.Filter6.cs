using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using static Capsul.Tests.Support.RawFrames;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>What a guest may send with IPv6.</summary>
public sealed partial class LibvirtTests
{
    /// <summary>
    /// A hostile guest, played by an interface with a tap's name, sends what no guest may: each kind has a counter of
    /// what passes the filter. To verify the counters, they also count its honest packets, and the forgeries once the
    /// filter is gone.
    /// </summary>
    [Fact]
    public async Task A_guest_cannot_forge_ipv6_neighbors_routers_or_dhcp()
    {
        const string tap = "capfake6", own = "52:54:0a:4d:00:3c", other = "52:54:0a:4d:00:3d";
        const byte icmp = 58, udp = 17, fragment = 44, advertise = 136, solicit = 135, router = 134, redirect = 137;
        var network = real.Settings.VmNetwork6!.Value.BaseAddress;
        var (mine, link) = (Filter.Derive(network, own), Filter.LinkLocal(own).ToString());
        var (theirs, theirLink) = (Filter.Derive(network, other).ToString(), Filter.LinkLocal(other).ToString());
        byte[] echo = [128, 0, 0, 0, 0, 1, 0, 1];
        var honest = new Dictionary<string, byte[]>(StringComparer.Ordinal)
        {
            ["own_global"] = Ipv6(own, mine.ToString(), icmp, echo),
            ["own_link"] = Ipv6(own, link, icmp, echo),
            ["own_advert"] = Ipv6(own, link, icmp, Discovery(advertise, mine.ToString())),
            ["own_claim"] = Ipv6(own, "::", icmp, Discovery(solicit, mine.ToString())),
            ["own_router_solicit"] = Ipv6(own, "::", icmp, [133, 0, 0, 0, 0, 0, 0, 0]),
        };
        var forged = new Dictionary<string, byte[]>(StringComparer.Ordinal)
        {
            ["bad_source"] = Ipv6(own, theirs, icmp, echo),
            ["bad_source_link"] = Ipv6(own, theirLink, icmp, echo),
            ["bad_mac"] = Ipv6(other, mine.ToString(), icmp, echo),
            ["bad_advert"] = Ipv6(own, link, icmp, Discovery(advertise, theirs)),
            ["bad_claim"] = Ipv6(own, "::", icmp, Discovery(solicit, theirs)),
            ["bad_router"] = Ipv6(own, link, icmp, Discovery(router, "::")),
            ["bad_redirect"] = Ipv6(own, link, icmp, Discovery(redirect, theirs)),
            ["bad_dhcp"] = Ipv6(own, link, udp, Udp(547, 546)),
            ["bad_hidden"] = Ipv6(own, link, fragment, Fragment(icmp, Discovery(router, "::"))),
        };
        var rules = string.Concat(honest.Keys.Concat(forged.Keys).Select(name => $"counter {name} {{ }}\n"));
        var witness = $$"""
            table bridge heard6 {
                {{rules}}
                chain arrived {
                    type filter hook prerouting priority -250;
                    iifname != "{{tap}}" return
                    ether saddr {{other}} counter name bad_mac return
                    ip6 saddr {{theirs}} counter name bad_source return
                    ip6 saddr {{theirLink}} counter name bad_source_link return
                    ip6 nexthdr 44 counter name bad_hidden return
                    udp sport 547 counter name bad_dhcp return
                    icmpv6 type nd-router-advert counter name bad_router return
                    icmpv6 type nd-redirect counter name bad_redirect return
                    icmpv6 type nd-router-solicit counter name own_router_solicit return
                    icmpv6 type nd-neighbor-advert @th,64,128 {{Hex(theirs)}} counter name bad_advert return
                    icmpv6 type nd-neighbor-solicit @th,64,128 {{Hex(theirs)}} counter name bad_claim return
                    icmpv6 type nd-neighbor-advert counter name own_advert return
                    icmpv6 type nd-neighbor-solicit counter name own_claim return
                    ip6 saddr {{mine}} counter name own_global
                    ip6 saddr {{link}} counter name own_link
                }
            }
            """;
        // The sending end keeps quiet by itself.
        await real.Sandbox.Inside("bash", "-ec", $"""
            ip link add {tap} type veth peer name hostile6
            echo 1 >/proc/sys/net/ipv6/conf/hostile6/disable_ipv6
            echo 1 >/proc/sys/net/ipv6/conf/{tap}/disable_ipv6
            ip link set hostile6 up
            ip link set {tap} master capsul0 up
            """).RunAsync(None);
        try
        {
            var card = int.Parse((await real.Sandbox.Inside(
                "cat", "/sys/class/net/hostile6/ifindex").RunAsync(None)).Output);
            await (real.Sandbox.Inside("nft", "-f", "-") with { Input = witness }).RunAsync(None);
            var filter = new Filter(arguments => real.Sandbox.Inside("nft", arguments));
            await filter.AllowAsync(new Guest(tap, own, System.Net.IPAddress.Parse("10.77.0.60"), mine), None);
            byte[][] all = [.. forged.Values, .. honest.Values];
            await Until.TrueAsync("the honest packets arrive", TimeSpan.FromSeconds(30), async () =>
            {
                await SendAsync(real.Sandbox.Pid, card, all);
                var counts = await CountAsync("heard6");
                return honest.Keys.All(name => counts[name] > 0);
            });
            (await CountAsync("heard6")).Where(c => forged.ContainsKey(c.Key)).ShouldAllBe(c => c.Value == 0);

            await filter.ForbidAsync(tap, None);
            await real.Sandbox.Inside("nft", "flush", "chain", "bridge", "capsul", "guests_in").RunAsync(None);
            await SendAsync(real.Sandbox.Pid, card, all);
            (await CountAsync("heard6")).Where(c => c.Value == 0).ShouldBeEmpty("the counters do not count");
        }
        finally
        {
            await real.Sandbox.Inside("bash", "-c",
                $"nft delete table bridge heard6; ip link del {tap}; nft delete table bridge capsul").TryRunAsync(None);
            await real.Libvirt.PrepareAsync(None);
        }
    }

    static string Hex(string address) =>
        "0x" + Convert.ToHexStringLower(System.Net.IPAddress.Parse(address).GetAddressBytes());
}
