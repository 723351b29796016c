using System.Text.Json;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>What must not pass between the guests' bridge and the machine's.</summary>
public sealed partial class BridgedTests
{
    /// <summary>A guest without a firewall hears everybody, but no DHCP server.</summary>
    static async Task HearsNoDhcpAsync(PretendedLan lan, RealHypervisor real, VmSpec vm)
    {
        const string witness = """
            table bridge heard {
                counter offered { }
                counter offer { }
                counter hello { }
                chain arrives {
                    type filter hook forward priority -20;
                    oifname "cap*" udp dport 68 udp sport 67 counter name offered
                }
                chain arrived {
                    type filter hook forward priority 10;
                    oifname "cap*" udp dport 68 udp sport 67 counter name offer
                    oifname "cap*" udp dport 68 udp sport != 67 counter name hello
                }
            }
            """;
        const string send = """
            echo hello >/dev/udp/$1/68
            nft "add table ip server; add chain ip server out { type nat hook postrouting priority 100; }
                add rule ip server out udp dport 68 snat to $2:67"
            echo offer >/dev/udp/$1/68
            nft delete table ip server
            """;
        await real.Libvirt.GuardAsync(vm with { Firewall = new Firewall(true, OneOwner, []) }, None);
        await (real.Sandbox.Inside("nft", "-f", "-") with { Input = witness }).RunAsync(None);
        await Until.TrueAsync("both arrive", Limit, async () =>
        {
            await lan.OutsideAsync(None, "bash", "-ec", send, "bash", $"{vm.Address}", PretendedLan.Web);
            var seen = await HeardAsync();
            return seen["offered"] > 0 && seen["hello"] > 0;
        });
        (await HeardAsync())["offer"].ShouldBe(0);
        await real.Sandbox.Inside("nft", "delete", "table", "bridge", "heard").RunAsync(None);
        await real.Libvirt.GuardAsync(
            vm with { Firewall = new Firewall(false, OneOwner, [new(IpProtocol.Tcp, 22, 22, null)]) }, None);

        async Task<Dictionary<string, int>> HeardAsync() => Counters((await real.Sandbox.Inside(
            "nft", "-j", "list", "counters", "table", "bridge", "heard").RunAsync(None)).Output);
    }

    /// <summary>
    /// The network sees the guest and nothing of the sandbox, and no packet that the guest may not send. To verify the
    /// counters, they also count the guest's own, and the forgeries once the filter lets everything pass.
    /// </summary>
    static async Task LeaksNothingAsync(PretendedLan lan, RealHypervisor real, VmSpec vm)
    {
        const string forge = """
            su -c 'ip addr add 192.0.2.1/24 dev eth0
            arping -q -c 2 -w 2 -U -I eth0 -s 192.0.2.1 192.0.2.1
            ip addr del 192.0.2.1/24 dev eth0
            ip addr add 192.0.2.99/24 dev eth0
            ping -q -c 2 -W 1 -I 192.0.2.99 192.0.2.1
            ip addr del 192.0.2.99/24 dev eth0'
            """;
        await real.SshAsync(vm, forge);
        // Another machine asks for the sandbox, and offers the guest an address.
        await lan.RouterAsync(None, "busybox", "ping", "-c", "1", "-W", "1", Own);
        (await lan.RouterAsync(None, "ip", "neigh", "show", Own)).ShouldNotContain("lladdr");
        var seen = await CountAsync(lan);
        seen["guest"].ShouldBeGreaterThan(0);
        seen.Where(c => c.Key != "guest").ShouldAllBe(c => c.Value == 0);

        await using (await LetBeAsync(real))
        {
            foreach (var chain in (string[])["capsul guests_in", "capsul_lan outward"])
                await real.Sandbox.Inside("nft", ["insert", "rule", "bridge", .. chain.Split(' '), "accept"])
                    .RunAsync(None);
            await Until.TrueAsync("the counters count", Limit, async () =>
            {
                await real.SshAsync(vm, forge + "; su -c 'udhcpc -n -q -t 1 -T 1 -i eth0 -s /bin/true'");
                var now = await CountAsync(lan);
                return ((string[])["forged_arp", "forged_ip", "dhcp"]).All(name => now[name] > 0);
            }, async () => string.Join(' ', await CountAsync(lan)));
        }
        await real.Sandbox.Inside("nft", "delete", "table", "bridge", "capsul").RunAsync(None);
        await real.Libvirt.PrepareAsync(None);
    }

    /// <summary>
    /// Meanwhile the Spoke does not put back what is changed: it takes this lock for another process that is at it.
    /// </summary>
    static Task<FileStream> LetBeAsync(RealHypervisor real) => Until.SomeAsync("the way out is left alone", Limit, () =>
    {
        try
        {
            return Task.FromResult<FileStream?>(new FileStream(Path.Combine(real.RunFolder, "way-out.lock"),
                FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
        }
        catch (IOException)
        {
            return Task.FromResult<FileStream?>(null);
        }
    });

    /// <summary>
    /// Everything that arrives at the router and is neither its own nor the machine's. The router hears its own
    /// advertisements, without a hardware address.
    /// </summary>
    static string Watch(string machine) => $$"""
        table netdev seen {
            counter guest { }
            counter stranger { }
            counter dhcp { }
            counter advert { }
            counter asked_own { }
            counter forged_arp { }
            counter forged_ip { }
            chain arrived {
                type filter hook ingress device lan priority 0;
                ether saddr {{machine}} return
                ether saddr {{Mac}} counter name guest
                ether saddr != {{Mac}} counter name stranger
                udp dport { 67, 547 } counter name dhcp
                ether saddr {{Mac}} icmpv6 type nd-router-advert counter name advert
                arp daddr ip {{Own}} counter name asked_own
                arp saddr ip {{PretendedLan.Router}} counter name forged_arp
                ip saddr 192.0.2.99 counter name forged_ip
            }
        }
        """;

    static async Task<Dictionary<string, int>> CountAsync(PretendedLan lan) =>
        Counters(await lan.RouterAsync(None, "nft", "-j", "list", "counters", "table", "netdev", "seen"));

    static Dictionary<string, int> Counters(string text)
    {
        using var json = JsonDocument.Parse(text);
        return json.RootElement.GetProperty("nftables").EnumerateArray()
            .Where(e => e.TryGetProperty("counter", out _)).Select(e => e.GetProperty("counter"))
            .ToDictionary(c => c.GetProperty("name").GetString()!, c => c.GetProperty("packets").GetInt32(),
                StringComparer.Ordinal);
    }
}
