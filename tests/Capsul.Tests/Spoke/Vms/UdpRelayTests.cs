using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Spoke.Vms;

/// <summary>Datagrams from outside to a server that plays a VM, and back.</summary>
public sealed class UdpRelayTests : IAsyncLifetime
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    readonly CancellationTokenSource stop = new();
    readonly Socket server = Bound();
    Task serving = null!;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>On the loopback, at a port that is free.</summary>
    static Socket Bound()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return socket;
    }

    static int PortOf(Socket socket) => ((IPEndPoint)socket.LocalEndPoint!).Port;

    public ValueTask InitializeAsync()
    {
        serving = EchoAsync();
        return ValueTask.CompletedTask;
    }

    async Task EchoAsync()
    {
        var buffer = new byte[1 << 16];
        while (true)
        {
            var got = await server.ReceiveFromAsync(
                buffer, SocketFlags.None, new IPEndPoint(IPAddress.Any, 0), stop.Token);
            await server.SendToAsync(
                buffer.AsMemory(0, got.ReceivedBytes), SocketFlags.None, got.RemoteEndPoint, stop.Token);
        }
    }

    Task<Socket> DialAsync(IPAddress address, int port, CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Connect(address, port);
        return Task.FromResult(socket);
    }

    UdpRelay Open(IPAddress at, IReadOnlyList<string>? from = null)
    {
        while (true)
        {
            var port = Capsul.Foundation.Ports.TakeFree();
            if (UdpRelay.TryOpen(at, new Forward(port, PortOf(server), from, IsUdp: true), DialAsync,
                IPAddress.Loopback, NullLogger.Instance) is { } relay) return relay;
        }
    }

    /// <summary>Whether a datagram comes back, from where it was sent to. Some may be lost.</summary>
    static async Task<bool> ComesBackAsync(Socket client, int size = 100)
    {
        var (sent, got) = (RandomNumberGenerator.GetBytes(size), new byte[size + 1]);
        for (var n = 0; n < 5; n++)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
            limit.CancelAfter(TimeSpan.FromMilliseconds(300));
            try
            {
                await client.SendAsync(sent, Cancel);
                var count = await client.ReceiveAsync(got, limit.Token);
                if (sent.AsSpan().SequenceEqual(got.AsSpan(0, count))) return true;
            }
            catch (OperationCanceledException) when (!Cancel.IsCancellationRequested)
            {
                // Once more.
            }
        }
        return false;
    }

    static Socket Client(string address, UdpRelay relay)
    {
        var at = new IPEndPoint(IPAddress.Parse(address), relay.Forward!.HostPort);
        var socket = new Socket(at.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Connect(at);
        return socket;
    }

    /// <summary>A connected socket hears nobody else than the address that it sends to.</summary>
    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("::")]
    public async Task Answers_come_from_the_address_that_was_asked(string at)
    {
        await using var relay = Open(IPAddress.Parse(at));
        foreach (var address in (string[])["127.0.0.1", "127.0.0.7", "127.0.0.1"])
        {
            using var client = Client(address, relay);
            await Until.TrueAsync($"{address} answers", Limit, () => ComesBackAsync(client));
        }
        if (at != "::") return;
        using var six = Client("::1", relay);
        await Until.TrueAsync("::1 answers", Limit, () => ComesBackAsync(six));
    }

    [Fact]
    public async Task Each_sender_gets_its_own_answers_and_whom_the_firewall_does_not_admit_gets_none()
    {
        await using var relay = Open(IPAddress.Any, ["127.0.0.0/8"]);
        using var one = Client("127.0.0.1", relay);
        using var other = Client("127.0.0.1", relay);
        await Until.TrueAsync("one gets its own", Limit, () => ComesBackAsync(one));
        await Until.TrueAsync("the other gets its own", Limit, () => ComesBackAsync(other, 1400));
        await Until.TrueAsync("a large one, too", Limit, () => ComesBackAsync(one, UdpRelay.MaxDatagram));
        (await ComesBackAsync(one, UdpRelay.MaxDatagram + 1)).ShouldBeFalse("it is too large");

        relay.Forward = relay.Forward! with { From = ["192.0.2.0/24"] };
        (await ComesBackAsync(one)).ShouldBeFalse("it is not admitted any more");
    }

    [Fact]
    public async Task One_address_does_not_take_all_places()
    {
        await using var relay = Open(IPAddress.Any);
        var many = Enumerable.Range(0, UdpRelay.MaxOfAddress + 1).Select(_ => Client("127.0.0.1", relay)).ToList();
        foreach (var client in many[..^1])
            await Until.TrueAsync("it has a place", Limit, () => ComesBackAsync(client));
        (await ComesBackAsync(many[^1])).ShouldBeFalse("it is one too many");
        foreach (var client in many) client.Dispose();
    }

    [Fact]
    public async Task A_port_that_is_in_use_is_not_taken_and_a_closed_one_is_free()
    {
        using var other = Bound();
        UdpRelay.TryOpen(IPAddress.Any, new Forward(PortOf(other), 1, null, IsUdp: true), DialAsync,
            IPAddress.Loopback, NullLogger.Instance).ShouldBeNull();
        var relay = Open(IPAddress.Any);
        using (var client = Client("127.0.0.1", relay))
            await Until.TrueAsync("it answers", Limit, () => ComesBackAsync(client));
        await relay.DisposeAsync();
        using var next = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        next.Bind(new IPEndPoint(IPAddress.Any, relay.Forward!.HostPort));
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        server.Dispose();
        stop.Dispose();
    }
}
