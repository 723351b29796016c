using System.Globalization;
using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.World;

/// <summary>From outside to a real guest: through a port of its host, and through the Hub, as for a host behind
/// NAT.</summary>
[Trait("Group", "world"), Collection(nameof(RealWorld))]
public sealed class PortsTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Ports_of_a_vm_are_reached_through_the_hub_and_the_host()
    {
        var (hub, host) = (Ports.TakeFree(), Ports.TakeFree());
        await using var world = await RealWorld.StartAsync(changes:
            [("CAPSUL_HUB_PORTS", $"{hub}-{hub}"), ("CAPSUL_HUB_PORTS_LISTEN", "127.0.0.1"),
                ("CAPSUL_FORWARD_PORTS", $"{host}-{host}")]);
        using var web = new HttpClient(new SocketsHttpHandler { UseProxy = false, PooledConnectionLifetime = default });
        var (id, ssh) = await world.MakeVmAsync();
        await world.Person.LoginAsync(ssh, "mkdir www; echo from the guest >www/index.html; "
            + "httpd -p 8080 -h www </dev/null >/dev/null 2>&1", Cancel);

        await OpenAsync("22", "hub");
        await Until.TrueAsync("ssh through the Hub", RealWorld.RunLimit, async () => await LoginAsync(hub) == "in");
        (await world.Person.SeenFingerprintAsync(ssh with { Port = hub }, Cancel))
            .ShouldBeOneOf([.. await world.Person.FingerprintsAsync(id, Cancel)]);
        await CloseAsync("22", "hub");
        await OpenAsync("8080", "hub");
        await OpenAsync("8080", "host");
        foreach (var port in (int[])[hub, host])
            await Until.TrueAsync($"the web server at {port}", RealWorld.RunLimit, async () =>
                (await FetchAsync(port)).Contains("from the guest", StringComparison.Ordinal));

        // SSH alone: the web server is not reached any more, by either way.
        await CliAsync("firewall", "set", id, "ssh");
        foreach (var port in (int[])[hub, host])
            await Until.TrueAsync($"nothing at {port}", RealWorld.RunLimit, async () =>
                (await FetchAsync(port)).Length == 0);
        (await world.Person.LoginAsync(ssh, "echo in", Cancel)).ShouldBe("in");
        await CliAsync("firewall", "allow", id, "tcp", "8080");
        await Until.TrueAsync("the web server again", RealWorld.RunLimit, async () =>
            (await FetchAsync(host)).Contains("from the guest", StringComparison.Ordinal));

        // UDP, at the same port of the host: the guest counts what comes to a port at which nothing listens.
        await OpenAsync("5353/udp", "host");
        await CliAsync("firewall", "allow", id, "udp", "5353");
        var before = await UnheardAsync();
        using var sender = new UdpClient("127.0.0.1", host);
        await Until.TrueAsync("a datagram arrives", RealWorld.RunLimit, async () =>
        {
            await sender.SendAsync("hello"u8.ToArray(), Cancel);
            return await UnheardAsync() > before;
        });

        await world.Person.DeleteAsync(id, Cancel);
        await world.AwaitColumnAsync(id, "state", "deleted", RealWorld.EndLimit);
        await Until.TrueAsync("both ports are closed", RealWorld.EndLimit, async () =>
            !await Until.AnswersAsync(hub) && !await Until.AnswersAsync(host));

        async Task<long> UnheardAsync() => long.Parse(await world.Person.LoginAsync(
            ssh, "awk '/^Udp: [0-9]/ { print $3 }' /proc/net/snmp", Cancel), CultureInfo.InvariantCulture);

        Task OpenAsync(string port, string via) => world.Door.SubmitAsync($"/vms/{id}/ports", $"/vms/{id}/ports",
            [KeyValuePair.Create("Port", port), KeyValuePair.Create("Via", via)], Cancel);

        Task CloseAsync(string port, string via) => CliAsync("port", "close", id, port, "--via", via);

        async Task CliAsync(params string[] line)
        {
            var done = await CapsulProgram.RunAsync(world.HubEnvironment, Cancel, ["vm", .. line]);
            done.ExitCode.ShouldBe(0, done.Error);
        }

        async Task<string> LoginAsync(int port)
        {
            var command = world.Person.SshCommandFor(ssh with { Port = port }, "echo in");
            return (await (command with { Timeout = TimeSpan.FromSeconds(30) }).TryRunAsync(Cancel)).Output.Trim();
        }

        async Task<string> FetchAsync(int port)
        {
            try
            {
                return await web.GetStringAsync($"http://127.0.0.1:{port}/", Cancel);
            }
            catch (HttpRequestException)
            {
                return "";
            }
        }
    }
}
