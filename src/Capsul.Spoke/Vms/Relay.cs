using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Capsul.Spoke.Hypervisor;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>
/// Opens a connection to a VM from wherever the VM network can be reached; throws the exceptions of a socket or the
/// hypervisor.
/// </summary>
public delegate Task<Stream> Dial(IPAddress address, int port, CancellationToken cancel);

/// <summary>
/// A UDP socket that is connected to a port of a VM, from wherever the VM network can be reached; throws the same.
/// </summary>
public delegate Task<Socket> DialUdp(IPAddress address, int port, CancellationToken cancel);

/// <summary>
/// Forwards a port of this machine to one VM's SSH, or to another port that its owner has opened, for hosts whose VM
/// network cannot be reached from outside. Copies bytes in both directions without interpreting them.
/// </summary>
public sealed partial class Relay : IForwarder
{
    /// <summary>Maximum number of concurrent connections to one VM; more wait in the kernel's queue.</summary>
    const int MaxConnections = 64;

    /// <summary>Of these, from one address to a port that its owner has opened.</summary>
    const int MaxOfAddress = 32;

    const int Ssh = 22;

    static readonly TimeSpan AcceptPause = TimeSpan.FromSeconds(1);

    readonly TcpListener listener;
    readonly Dial dial;
    readonly ILogger log;
    readonly CancellationTokenSource stop = new();
    readonly SemaphoreSlim places = new(MaxConnections);
    readonly Task running;
    readonly ConcurrentDictionary<IPAddress, int> addresses = new();

    Relay(TcpListener listener, Dial dial, IPAddress target, Forward? forward, ILogger log)
    {
        (this.listener, this.dial, Target, Forward, this.log) = (listener, dial, target, forward, log);
        running = AcceptAsync();
    }

    /// <summary>Null: it leads to SSH. Who may use it can change while it listens.</summary>
    public Forward? Forward { get; set; }

    public IPAddress Target { get; }

    public int Port => ((IPEndPoint)listener.LocalEndpoint).Port;

    /// <summary>
    /// Listens on <paramref name="preferred"/> if that is free, otherwise on a free port of the range, starting at a
    /// random one: reusing a port that was another VM's a minute ago would make ssh warn about a changed host key.
    /// </summary>
    /// <exception cref="HypervisorException">No port of the range is free.</exception>
    public static Relay Open(
        IPAddress address, (int First, int Last) range, int preferred, Dial dial, IPAddress target, ILogger log)
    {
        var count = range.Last - range.First + 1;
        var begin = RandomNumberGenerator.GetInt32(count);
        var ports = Enumerable.Range(0, count).Select(n => range.First + ((begin + n) % count));
        foreach (var port in preferred > 0 ? ports.Prepend(preferred) : ports)
        {
            if (TryListen(address, port) is { } listener) return new Relay(listener, dial, target, null, log);
        }
        throw new HypervisorException(
            $"No port from {range.First} to {range.Last} is free on {address} for SSH; widen CAPSUL_RELAY_PORTS.",
            final: false);
    }

    /// <summary>Null: the port is in use.</summary>
    public static Relay? TryOpen(IPAddress address, Forward forward, Dial dial, IPAddress target, ILogger log) =>
        TryListen(address, forward.HostPort) is { } listener ? new Relay(listener, dial, target, forward, log) : null;

    static TcpListener? TryListen(IPAddress address, int port)
    {
        var candidate = new TcpListener(address, port);
        // On all addresses of the machine, of either family.
        if (address.Equals(IPAddress.IPv6Any)) candidate.Server.DualMode = true;
        try
        {
            candidate.Start();
            return candidate;
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            candidate.Dispose();
            return null;
        }
    }

    async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                await places.WaitAsync(stop.Token);
                _ = CarryAsync(await AcceptOneAsync());
            }
        }
        catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException)
        {
            // The relay was closed.
        }
    }

    /// <summary>
    /// A connection that could not be accepted (no file descriptors left, or its client is gone) must not end the
    /// relay.
    /// </summary>
    async Task<TcpClient> AcceptOneAsync()
    {
        while (true)
        {
            try
            {
                return await listener.AcceptTcpClientAsync(stop.Token);
            }
            catch (SocketException error) when (!stop.IsCancellationRequested)
            {
                Log.NotAccepted(log, Port, error.Message);
                await Task.Delay(AcceptPause, stop.Token);
            }
        }
    }

    async Task CarryAsync(TcpClient client)
    {
        using var owned = client;
        var from = (client.Client.RemoteEndPoint as IPEndPoint)?.Address ?? IPAddress.None;
        try
        {
            if (addresses.AddOrUpdate(from, 1, (_, n) => n + 1) > MaxOfAddress && Forward is not null) return;
            if (Forward?.Admits(from) == false) return;
            client.NoDelay = true;
            await using var inside = await dial(Target, Forward?.VmPort ?? Ssh, stop.Token);
            await using var outside = client.GetStream();
            using var both = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
            var sending = outside.CopyToAsync(inside, both.Token);
            var receiving = inside.CopyToAsync(outside, both.Token);
            // Who has closed half of a connection to a server still wants its answer.
            if (await Task.WhenAny(sending, receiving) == sending && sending.IsCompletedSuccessfully
                && Forward is not null && inside is NetworkStream network)
            {
                network.Socket.Shutdown(SocketShutdown.Send);
                await receiving;
            }
            await both.CancelAsync();
        }
        catch (Exception error)
            when (error is IOException or SocketException or OperationCanceledException or HypervisorException)
        {
            Log.Broken(log, Port, error.Message);
        }
        finally
        {
            if (addresses.AddOrUpdate(from, 0, (_, n) => n - 1) <= 0)
                addresses.TryRemove(KeyValuePair.Create(from, 0));
            places.Release();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        listener.Dispose();
        await running;
        stop.Dispose();
    }

    static partial class Log
    {
        [LoggerMessage(400, LogLevel.Debug, "A connection through port {Port} ended: {Why}")]
        public static partial void Broken(ILogger log, int port, string why);

        [LoggerMessage(401, LogLevel.Warning, "Port {Port} could not accept a connection: {Why}; retrying")]
        public static partial void NotAccepted(ILogger log, int port, string why);
    }
}
