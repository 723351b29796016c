using System.Net;
using System.Net.Sockets;
using System.Text;
using Capsul.Foundation;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Cli;

/// <summary>The Hub, the link and the relays without IPv4.</summary>
public sealed class Ipv6Tests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_Hub_and_its_Spoke_work_over_ipv6_alone()
    {
        await using var database = await TestDatabase.CreateAsync();
        var environment = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("ipv6"),
            ["CAPSUL_DATABASE"] = database.ConnectionString,
            ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_LISTEN"] = "::1",
            ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
            ["CAPSUL_LINK_LISTEN"] = "::1",
            ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
            ["CAPSUL_RELAY_ADDRESS"] = "::1",
        };
        await using var capsul = CapsulProgram.Start(environment, "up");
        await capsul.AwaitSaidAsync($"http://[::1]:{environment["CAPSUL_PORT"]}/", Limit);
        await capsul.AwaitSaidAsync($"Connected to the Hub at [::1]:{environment["CAPSUL_LINK_PORT"]}", Limit);
        using var client = new HttpClient();
        using var page = await client.GetAsync(
            new Uri($"http://[::1]:{environment["CAPSUL_PORT"]}/healthz"), Cancel);
        page.StatusCode.ShouldBe(HttpStatusCode.OK);
        await Until.TrueAsync("the host has its two pools", Limit, async () =>
            (await CapsulProgram.RunAsync(environment, Cancel, "pool", "list")).Output is var pools
                && pools.Contains("10.77.0.0/24", StringComparison.Ordinal)
                && pools.Contains("::/64", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_relay_on_all_addresses_is_reached_over_both_families()
    {
        await using var relay = Relay.Open(IPAddress.IPv6Any, (31700, 31799), 0,
            (_, _, _) => Task.FromResult<Stream>(new MemoryStream("SSH-2.0"u8.ToArray())),
            IPAddress.Parse("10.77.0.2"), NullLogger.Instance);
        foreach (var address in (IPAddress[])[IPAddress.Loopback, IPAddress.IPv6Loopback])
        {
            using var client = new TcpClient(address.AddressFamily);
            await client.ConnectAsync(address, relay.Port, Cancel);
            var banner = new byte[7];
            await client.GetStream().ReadExactlyAsync(banner, Cancel);
            Encoding.ASCII.GetString(banner).ShouldBe("SSH-2.0");
        }
    }

    [Theory]
    [InlineData("0.0.0.0", "127.0.0.1")]
    [InlineData("::", "127.0.0.1")]
    [InlineData("::1", "[::1]")]
    [InlineData("192.0.2.5", "192.0.2.5")]
    public void A_machine_reaches_itself_where_it_listens(string listen, string here) =>
        Settings.Here(IPAddress.Parse(listen)).ShouldBe(here);
}
