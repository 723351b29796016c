using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Ports;
using Capsul.Tests.Features.Consoles;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Ports;

/// <summary>A Hub and a host, each with one port for VMs.</summary>
public sealed class PortWorld : ConsoleWorld
{
    public int HubPort { get; } = Capsul.Foundation.Ports.TakeFree();

    public int HostPort { get; } = Capsul.Foundation.Ports.TakeFree();

    protected override (string Name, string? Value)[] HubSettings =>
        [("CAPSUL_HUB_PORTS", $"{HubPort}-{HubPort}"), ("CAPSUL_HUB_PORTS_LISTEN", "127.0.0.1")];

    protected override (string Name, string? Value)[] SpokeSettings =>
        [("CAPSUL_FORWARD_PORTS", $"{HostPort}-{HostPort}")];

    protected override bool RelaysListen => true;

    public Settings Settings => Settings.Load(new Dictionary<string, string>()).With(HubSettings);
}

/// <summary>Bytes from outside to a server in a VM, and back.</summary>
public sealed class PortStreamTests(PortWorld world) : IClassFixture<PortWorld>
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("host", 7001)]
    [InlineData("hub", 7002)]
    public async Task What_is_sent_comes_back_whole_and_halves_close_one_by_one(string via, int port)
    {
        using var server = Echo(port);
        var at = (await OpenAsync(port, via)).Port;
        using (var client = await ConnectAsync(at))
        {
            var sent = RandomNumberGenerator.GetBytes(3 << 20);
            var got = new MemoryStream();
            var reading = client.GetStream().CopyToAsync(got, Cancel);
            await client.GetStream().WriteAsync(sent, Cancel);
            // The server answers only what it has got; the end of the answer comes after the end of the question.
            client.Client.Shutdown(SocketShutdown.Send);
            await reading.WaitAsync(Limit, Cancel);
            got.Length.ShouldBe(sent.Length);
            SHA256.HashData(got.ToArray()).ShouldBe(SHA256.HashData(sent));
        }
        if (via == "hub")
            await Until.TrueAsync("they are counted", Limit, async () => (await RowAsync(port, via))
                is { BytesIn: 3 << 20, BytesOut: 3 << 20 });

        // A rule of the firewall holds here, too.
        (await ChangeFirewallAsync(new FirewallChange.Policy("closed"))).OrThrow();
        await Until.TrueAsync("nobody gets in", Limit, async () => await AskAsync(at) == "");
        (await ChangeFirewallAsync(new FirewallChange.Allow("tcp", $"{port}", "127.0.0.0/8"))).OrThrow();
        await Until.TrueAsync("who is allowed gets in", Limit, async () => await AskAsync(at) == "hello");
        (await ChangeFirewallAsync(new FirewallChange.Preset("everything"))).OrThrow();

        (await ClosePort.RunAsync(world.Link.Db, "a", VmRows.Email, world.Vm, $"{port}", via, Cancel)).OrThrow();
        await Until.TrueAsync("it is closed", Limit, async () => !await Until.AnswersAsync(at));
    }

    [Fact]
    public async Task A_vm_that_does_not_read_stops_who_sends()
    {
        using var server = Sink(7003);
        var at = (await OpenAsync(7003, "hub")).Port;
        using var client = await ConnectAsync(at);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var (sent, part) = (0L, new byte[64 << 10]);
        // It stops when all buffers on the way are full: a write then waits for ever.
        while (true)
        {
            var writing = client.GetStream().WriteAsync(part, limit.Token).AsTask();
            if (await Task.WhenAny(writing, Task.Delay(TimeSpan.FromSeconds(3), Cancel)) != writing) break;
            await writing;
            (sent += part.Length).ShouldBeLessThan(256 << 20);
        }
        await limit.CancelAsync();
        (await ClosePort.RunAsync(world.Link.Db, "a", VmRows.Email, world.Vm, "7003", "hub", Cancel)).OrThrow();
        await Until.TrueAsync("it is closed", Limit, async () => !await Until.AnswersAsync(at));
    }

    Task<Outcome<FirewallState>> ChangeFirewallAsync(FirewallChange change) => ChangeFirewall.RunAsync(
        world.Link.Db, VmRows.Email, VmRows.Email, world.Vm, change, Cancel);

    async Task<PortRow> OpenAsync(int port, string via)
    {
        // The tests share one port each.
        var opened = await Until.SomeAsync("a port is free", Limit, async () => (await OpenPort.RunAsync(world.Link.Db,
            "a", VmRows.Email, world.Vm, $"{port}", via, world.Settings, TimeProvider.System, Cancel)).Value);
        await Until.TrueAsync("it listens", Limit, () => Until.AnswersAsync(opened.Port));
        return opened;
    }

    async Task<PortRow?> RowAsync(int port, string via) => (await world.Link.Db.ListAsync<PortRow>(
        PortSql.OfVm, new { id = world.Vm }, Cancel)).FirstOrDefault(p => p.VmPort == port && p.Via == via);

    static async Task<TcpClient> ConnectAsync(int port)
    {
        var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, port, Cancel);
        return client;
    }

    /// <summary>What comes back when one says hello; empty if one is not let in.</summary>
    static async Task<string> AskAsync(int port)
    {
        try
        {
            using var client = await ConnectAsync(port);
            var stream = client.GetStream();
            await stream.WriteAsync("hello"u8.ToArray(), Cancel);
            client.Client.Shutdown(SocketShutdown.Send);
            using var reader = new StreamReader(stream, Encoding.ASCII);
            return await reader.ReadToEndAsync(Cancel).WaitAsync(Limit, Cancel);
        }
        catch (Exception error) when (error is IOException or SocketException)
        {
            return "";
        }
    }

    /// <summary>A server in the VM that sends back what it gets.</summary>
    TcpListener Echo(int port) => Serve(port, stream => stream.CopyToAsync(stream, Cancel));

    /// <summary>One that takes connections and reads nothing.</summary>
    TcpListener Sink(int port) => Serve(port, _ => Task.Delay(Timeout.InfiniteTimeSpan, Cancel));

    TcpListener Serve(int port, Func<NetworkStream, Task> serve)
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        world.Hypervisor.Servers[port] = ((IPEndPoint)listener.LocalEndpoint).Port;
        _ = AcceptAsync();
        return listener;

        async Task AcceptAsync()
        {
            try
            {
                while (true) _ = ServeAsync(await listener.AcceptTcpClientAsync(Cancel));
            }
            catch (Exception error) when (error is SocketException or OperationCanceledException
                or ObjectDisposedException)
            {
                // The test is over.
            }
        }

        async Task ServeAsync(TcpClient client)
        {
            using var owned = client;
            try
            {
                await serve(client.GetStream());
            }
            catch (Exception error) when (error is IOException or OperationCanceledException)
            {
                // The other side has gone.
            }
        }
    }
}
