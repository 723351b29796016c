using System.Text.Json;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>A guest may send only from its own addresses.</summary>
public sealed partial class LibvirtTests
{
    /// <summary>
    /// A counter behind the filter counts what arrives at the host with a forged address. To verify the counter, it
    /// also counts the VM's own packets, and the same forgeries once the filter lets everything pass.
    /// </summary>
    [Fact]
    public async Task A_guest_cannot_send_from_another_address()
    {
        const string witness = """
            table bridge witness {
                counter own { }
                counter forged_ip { }
                counter forged_arp { }
                counter forged_mac { }
                chain arrived {
                    type filter hook input priority 0;
                    ip saddr 10.77.0.20 counter name own
                    ip saddr 10.77.0.99 counter name forged_ip
                    arp saddr ip 10.77.0.99 counter name forged_arp
                    ether saddr 52:54:00:99:99:99 counter name forged_mac
                }
            }
            """;
        const string forge = """
            su -c 'ip addr add 10.77.0.99/24 dev eth0
            ping -q -c 2 -W 1 -I 10.77.0.99 10.77.0.1
            arping -q -c 2 -w 2 -U -I eth0 -s 10.77.0.99 10.77.0.99
            ip link set eth0 address 52:54:00:99:99:99
            ping -q -c 2 -W 1 10.77.0.1
            ip link set eth0 address 52:54:00:12:34:14
            ip addr del 10.77.0.99/24 dev eth0
            ping -q -c 2 -W 1 10.77.0.1'
            """;
        var vm = real.Spec("kkkkkkkkkk", 20);
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        await (real.Sandbox.Inside("nft", "-f", "-") with { Input = witness }).RunAsync(None);

        await real.SshAsync(vm, forge);
        var guarded = await CountAsync();
        guarded["own"].ShouldBeGreaterThan(0);
        guarded.Where(c => c.Key != "own").ShouldAllBe(c => c.Value == 0);

        // Not flushed: the Spoke would put that back, perhaps in the middle of what follows.
        await real.Sandbox.Inside("nft", "insert", "rule", "bridge", "capsul", "guests_in", "accept").RunAsync(None);
        var forged = await real.SshAsync(vm, forge);
        (await CountAsync()).Where(c => c.Value == 0).ShouldBeEmpty(forged.Output + forged.Error);

        await real.Sandbox.Inside("nft", "delete", "table", "bridge", "witness").RunAsync(None);
        await real.Sandbox.Inside("nft", "delete", "table", "bridge", "capsul").RunAsync(None);
        await real.Libvirt.PrepareAsync(None);
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    /// <summary>
    /// A guest that uses another's hardware address inside DHCP (a DHCPDECLINE would take away that guest's address).
    /// The guest here is a network namespace with a tap's name: only what it sends and what arrives at the host
    /// matters.
    /// </summary>
    [Fact]
    public async Task A_guest_cannot_use_another_guests_mac_address_in_dhcp()
    {
        const string tap = "capfake0", own = "52:54:00:12:34:28", other = "52:54:00:12:34:29", address = "10.77.0.40";
        const string setUp = $"""
            ip netns add fake
            ip link add {tap} type veth peer name eth0 netns fake
            ip netns exec fake ip link set eth0 address {own} up
            ip netns exec fake ip addr add {address}/24 dev eth0
            ip link set {tap} master capsul0 up
            """;
        const string witness = """
            table bridge heard {
                counter own { }
                counter forged { }
                chain arrived {
                    type filter hook input priority 0;
                    ether type ip udp dport 67 @th,288,48 0x525400123428 counter name own
                    ether type ip udp dport 67 @th,288,48 0x525400123429 counter name forged
                }
            }
            """;
        await real.Sandbox.Inside("bash", "-ec", setUp).RunAsync(None);
        try
        {
            await (real.Sandbox.Inside("nft", "-f", "-") with { Input = witness }).RunAsync(None);
            var filter = new Filter(arguments => real.Sandbox.Inside("nft", arguments));
            await filter.AllowAsync(new Guest(tap, own, System.Net.IPAddress.Parse(address), null), None);
            await Until.TrueAsync("the guest's own requests arrive", TimeSpan.FromSeconds(30), async () =>
            {
                await SendDhcpAsync(own);
                return (await CountAsync("heard"))["own"] > 0;
            });
            for (var n = 0; n < 5; n++) await SendDhcpAsync(other);
            await SendDhcpAsync(own);
            (await CountAsync("heard"))["forged"].ShouldBe(0);
            await filter.ForbidAsync(tap, None);
        }
        finally
        {
            await real.Sandbox.Inside(
                "bash", "-c", $"nft delete table bridge heard; ip netns del fake; ip link del {tap}").TryRunAsync(None);
        }
    }

    /// <summary>A Spoke that was not there when an address was given back takes it away when it is back.</summary>
    [Fact]
    public async Task What_a_guest_was_allowed_by_the_program_before_is_not_left_to_it()
    {
        const string tap = "capfake1", mac = "52:54:00:12:34:2a";
        var guest = new Guest(tap, mac, System.Net.IPAddress.Parse("10.77.0.42"), null);
        var further = guest with { Further = [System.Net.IPAddress.Parse("10.77.0.43")] };
        await Before().AllowAsync(further, None);
        (await AllowedAsync()).ShouldBe(["10.77.0.42", "10.77.0.43"]);
        var same = Before();
        await same.PrepareAsync([], None);
        await same.AllowAsync(further, None);
        (await AllowedAsync()).ShouldBe(["10.77.0.42", "10.77.0.43"]);
        var filter = Before();
        await filter.PrepareAsync([guest], None);
        (await AllowedAsync()).ShouldBe(["10.77.0.42", "10.77.0.43"], "nothing was said of it yet");
        await filter.AllowAsync(guest, None);
        (await AllowedAsync()).ShouldBe(["10.77.0.42"]);
        filter.IsAllowed(guest).ShouldBeTrue();
        await filter.ForbidAsync(tap, None);
        (await AllowedAsync()).ShouldBeEmpty();

        Filter Before() => new(arguments => real.Sandbox.Inside("nft", arguments));

        async Task<IEnumerable<string>> AllowedAsync() => Filter.Elements((await real.Sandbox.Inside(
            "nft", "-j", "list", "set", "bridge", "capsul", "guests").RunAsync(None)).Output)
            .Where(e => e.Parts[0] == tap).Select(e => e.Parts[^1]).Order(StringComparer.Ordinal);
    }

    /// <summary>
    /// The first 44 bytes of a DHCP message (RFC 2131): the client's hardware address is at offset 28.
    /// </summary>
    Task SendDhcpAsync(string mac)
    {
        var bytes = $"\\x01\\x01\\x06{string.Concat(Enumerable.Repeat("\\x00", 25))}"
            + string.Concat(mac.Split(':').Select(b => "\\x" + b))
            + string.Concat(Enumerable.Repeat("\\x00", 10));
        return real.Sandbox.Inside(
            "ip", "netns", "exec", "fake", "bash", "-c", $"printf '{bytes}' >/dev/udp/10.77.0.1/67").RunAsync(None);
    }

    async Task<Dictionary<string, int>> CountAsync(string table = "witness")
    {
        var listed =
            await real.Sandbox.Inside("nft", "-j", "list", "counters", "table", "bridge", table).RunAsync(None);
        using var json = JsonDocument.Parse(listed.Output);
        return json.RootElement.GetProperty("nftables").EnumerateArray()
            .Where(e => e.TryGetProperty("counter", out _)).Select(e => e.GetProperty("counter"))
            .ToDictionary(c => c.GetProperty("name").GetString()!,
                c => c.GetProperty("packets").GetInt32(), StringComparer.Ordinal);
    }
}
