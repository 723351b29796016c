using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Capsul.Spoke.Hypervisor;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>
/// Forwards a UDP port of this machine to one of a VM. Each sender has a socket of its own to the VM, so that answers
/// find their way back; they leave from the address that the sender has written to. UDP has no end: a flow is over when
/// nothing was sent either way for two minutes (RFC 4787, REQ-5), and earlier if the VM has never answered, so that
/// forged senders do not take all places for long.
/// </summary>
sealed partial class UdpRelay : IForwarder
{
    /// <summary>Senders at a time, and of one address. What others send is dropped meanwhile.</summary>
    internal const int MaxFlows = 256, MaxOfAddress = 32;

    /// <summary>Senders of all ports of this process, which carries everybody's SSH, too.</summary>
    const int MaxOfAll = 4096;

    /// <summary>Larger ones are dropped: nobody sends them over the internet on purpose.</summary>
    internal const int MaxDatagram = 16 << 10;

    static readonly TimeSpan Unanswered = TimeSpan.FromSeconds(30), Idle = TimeSpan.FromMinutes(2);

    static int all;

    readonly DialUdp dial;
    readonly ILogger log;
    readonly CancellationTokenSource stop = new();
    readonly ConcurrentDictionary<(EndPoint Sender, EndPoint Door), Flow> flows = new();
    readonly ConcurrentDictionary<IPAddress, Socket> doors = new();
    readonly ConcurrentBag<Task> receiving = [];
    readonly Lock gate = new();

    /// <summary>The socket to the VM, and when it ends.</summary>
    sealed record Flow(Socket Inside, CancellationTokenSource End) : IDisposable
    {
        /// <summary>The VM has answered.</summary>
        public bool IsAnswered { get; set; }

        public void Use() => End.CancelAfter(IsAnswered ? Idle : Unanswered);

        public void Dispose()
        {
            Inside.Dispose();
            End.Dispose();
        }
    }

    UdpRelay(IReadOnlyList<Socket> sockets, Forward forward, DialUdp dial, IPAddress target, ILogger log)
    {
        (Forward, this.dial, Target, this.log) = (forward, dial, target, log);
        foreach (var socket in sockets) Listen(((IPEndPoint)socket.LocalEndPoint!).Address, socket);
    }

    public Forward? Forward { get; set; }

    public IPAddress Target { get; }

    /// <summary>Null: the port is in use.</summary>
    public static UdpRelay? TryOpen(IPAddress address, Forward forward, DialUdp dial, IPAddress target, ILogger log)
    {
        // One for each family: one for both does not say to which address of IPv4 a datagram was sent.
        IPAddress[] families = address.Equals(IPAddress.IPv6Any) ? [IPAddress.Any, address] : [address];
        var sockets = new List<Socket>();
        try
        {
            foreach (var family in families)
            {
                // Without sharing first: the one that stays shares the port with those for single addresses.
                Bind(family, forward.HostPort, isShared: false).Dispose();
                sockets.Add(Bind(family, forward.HostPort, isShared: true));
            }
            return new UdpRelay(sockets, forward, dial, target, log);
        }
        catch (SocketException error)
        {
            foreach (var socket in sockets) socket.Dispose();
            if (error.SocketErrorCode == SocketError.AddressAlreadyInUse) return null;
            throw;
        }
    }

    static Socket Bind(IPAddress address, int port, bool isShared)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        try
        {
            if (address.AddressFamily == AddressFamily.InterNetworkV6) socket.DualMode = false;
            if (isShared) socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            socket.Bind(new IPEndPoint(address, port));
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    void Listen(IPAddress at, Socket socket)
    {
        doors[at] = socket;
        receiving.Add(ReceiveAsync(socket));
    }

    async Task ReceiveAsync(Socket socket)
    {
        // Not in the caller's lock.
        await Task.Yield();
        var buffer = GC.AllocateUninitializedArray<byte>(MaxDatagram);
        var any = new IPEndPoint(
            socket.AddressFamily == AddressFamily.InterNetworkV6 ? IPAddress.IPv6Any : IPAddress.Any, 0);
        while (!stop.IsCancellationRequested)
        {
            try
            {
                var got = await socket.ReceiveMessageFromAsync(buffer, SocketFlags.None, any, stop.Token);
                if (got.SocketFlags.HasFlag(SocketFlags.Truncated)) continue;
                await TakeAsync(socket, (IPEndPoint)got.RemoteEndPoint, got.PacketInformation.Address,
                    buffer.AsMemory(0, got.ReceivedBytes));
            }
            catch (Exception error) when (!stop.IsCancellationRequested
                && error is SocketException or HypervisorException or IOException or ObjectDisposedException)
            {
                // That datagram is lost, as datagrams may be.
                Log.Lost(log, Forward!.HostPort, error.Message);
            }
            catch (Exception error) when (error is OperationCanceledException or ObjectDisposedException
                or SocketException or HypervisorException or IOException)
            {
                // It was closed.
                return;
            }
        }
    }

    async Task TakeAsync(Socket socket, IPEndPoint sender, IPAddress? to, ReadOnlyMemory<byte> datagram)
    {
        // Nobody can be answered at port 0.
        if (sender.Port == 0 || Forward?.Admits(sender.Address) == false) return;
        var door = DoorAt(socket, to) ?? socket;
        var key = ((EndPoint)sender, door.LocalEndPoint!);
        if (!flows.TryGetValue(key, out var flow))
        {
            var near = Near(sender.Address);
            if (flows.Count >= MaxFlows || Volatile.Read(ref all) >= MaxOfAll
                || flows.Keys.Count(k => Near(((IPEndPoint)k.Sender).Address).Equals(near)) >= MaxOfAddress) return;
            var inside = await dial(Target, Forward!.VmPort, stop.Token);
            flow = new Flow(inside, CancellationTokenSource.CreateLinkedTokenSource(stop.Token));
            if (!flows.TryAdd(key, flow))
            {
                // Another door has taken one of the same sender meanwhile.
                flow.Dispose();
                return;
            }
            flow.Use();
            Interlocked.Increment(ref all);
            _ = AnswerAsync(door, sender, key, flow);
        }
        flow.Use();
        await flow.Inside.SendAsync(datagram, stop.Token);
    }

    /// <summary>
    /// The socket of one address of this machine, from which answers leave; null: the one at which a datagram arrived.
    /// </summary>
    /// <param name="to">Where it was sent to; null: that is not known. One of a link says nothing without its
    /// interface.</param>
    Socket? DoorAt(Socket arrived, IPAddress? to)
    {
        var at = ((IPEndPoint)arrived.LocalEndPoint!).Address;
        if (to is null or { IsIPv6LinkLocal: true } || !(at.Equals(IPAddress.Any) || at.Equals(IPAddress.IPv6Any)))
            return null;
        lock (gate)
        {
            if (doors.TryGetValue(to, out var there)) return there;
            if (stop.IsCancellationRequested) return null;
            var opened = Bind(to, Forward!.HostPort, isShared: true);
            Listen(to, opened);
            return opened;
        }
    }

    /// <summary>Whom an address counts for: who has one of IPv6 has its /64.</summary>
    static IPAddress Near(IPAddress address) => address.AddressFamily != AddressFamily.InterNetworkV6 ? address
        : new IPAddress([.. address.GetAddressBytes().AsSpan(0, 8), .. new byte[8]]);

    /// <summary>Carries what the VM answers, until the flow is over, or the sender is not admitted any more.</summary>
    async Task AnswerAsync(Socket door, IPEndPoint sender, (EndPoint, EndPoint) key, Flow flow)
    {
        var buffer = GC.AllocateUninitializedArray<byte>(MaxDatagram);
        try
        {
            while (true)
            {
                try
                {
                    var count = await flow.Inside.ReceiveAsync(buffer, SocketFlags.None, flow.End.Token);
                    if (Forward?.Admits(sender.Address) == false) return;
                    flow.IsAnswered = true;
                    flow.Use();
                    await door.SendToAsync(buffer.AsMemory(0, count), SocketFlags.None, sender, flow.End.Token);
                }
                catch (SocketException error) when (error.SocketErrorCode == SocketError.ConnectionRefused)
                {
                    // Nothing listens in the VM now; that may change.
                }
            }
        }
        catch (Exception error)
            when (error is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            Log.Ended(log, Forward!.HostPort, error.Message);
        }
        finally
        {
            flows.TryRemove(key, out _);
            flow.Dispose();
            Interlocked.Decrement(ref all);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        lock (gate)
        {
            foreach (var door in doors.Values) door.Dispose();
        }
        await Task.WhenAll(receiving);
        stop.Dispose();
    }

    static partial class Log
    {
        [LoggerMessage(404, LogLevel.Debug, "A flow through UDP port {Port} ended: {Why}")]
        public static partial void Ended(ILogger log, int port, string why);

        [LoggerMessage(405, LogLevel.Debug, "A datagram to UDP port {Port} was lost: {Why}")]
        public static partial void Lost(ILogger log, int port, string why);
    }
}
