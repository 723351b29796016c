using System.Net.Sockets;
using System.Threading.Channels;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>The connection to a daemon that hangs, with the real library and the real daemon behind a socket.</summary>
[Collection(nameof(RealHypervisor))]
public sealed class LibvirtConnectionTests(RealHypervisor real)
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task One_that_opens_after_its_time_limit_is_closed_and_the_next_call_opens_its_own()
    {
        var path = Path.Combine(real.RunFolder, "slow-sock");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        var time = new FakeTimeProvider();
        var changes = Channel.CreateUnbounded<string>();
        await using var connection = new LibvirtConnection(
            _ => Task.FromResult($"qemu+unix:///system?socket={path}"), changes.Writer, time, NullLogger.Instance);

        var call = VersionAsync(connection);
        using var client = await listener.AcceptAsync(Cancel);
        time.Advance(TimeSpan.FromSeconds(16));
        (await Should.ThrowAsync<HypervisorException>(call)).Unreachable.ShouldBeTrue();

        using var daemon = await DialAsync();
        (await PumpAsync(client, daemon)).ShouldBeTrue("the client never closed the connection that came too late");

        var next = VersionAsync(connection);
        using var second = await listener.AcceptAsync(Cancel);
        using var again = await DialAsync();
        var pump = PumpAsync(second, again);
        (await next).ShouldBeGreaterThan(0);
        pump.IsCompleted.ShouldBeFalse();
    }

    static Task<long> VersionAsync(LibvirtConnection connection) =>
        connection.CallAsync("report its version", Limit, connect =>
        {
            LibvirtNative.Check(LibvirtNative.virConnectGetVersion(connect, out var number));
            return (long)number;
        }, Cancel);

    async Task<Socket> DialAsync()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Path.Combine(real.RunFolder, "libvirt-sock")), Cancel);
        return socket;
    }

    /// <summary>Carries bytes both ways. True: the client closed its end; false: it did not in time.</summary>
    static async Task<bool> PumpAsync(Socket client, Socket daemon)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        limit.CancelAfter(Until.Patient(Limit));
        _ = CarryAsync(daemon, client, limit.Token);
        return await CarryAsync(client, daemon, limit.Token);
    }

    static async Task<bool> CarryAsync(Socket from, Socket to, CancellationToken cancel)
    {
        var buffer = new byte[64 << 10];
        try
        {
            while (await from.ReceiveAsync(buffer, cancel) is > 0 and var read)
                await to.SendAsync(buffer.AsMemory(0, read), cancel);
            return true;
        }
        catch (Exception error) when (error is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            return false;
        }
    }
}
