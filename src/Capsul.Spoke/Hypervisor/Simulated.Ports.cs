using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;

namespace Capsul.Spoke.Hypervisor;

/// <summary>What the machines serve besides SSH: real servers of this machine.</summary>
public sealed partial class Simulated
{
    /// <summary>The loopback port at which each of their ports really is.</summary>
    public ConcurrentDictionary<int, int> Servers { get; } = new();

    internal Task<Socket> DialUdpAsync(IPAddress address, int port, CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Connect(IPAddress.Loopback, Servers.GetValueOrDefault(port, port));
        return Task.FromResult(socket);
    }

    NetworkStream Serve(int port)
    {
        if (!Servers.TryGetValue(port, out var real))
            throw new HypervisorException("Connection refused.", final: false);
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Connect(IPAddress.Loopback, real);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (SocketException error)
        {
            socket.Dispose();
            throw new HypervisorException("Connection refused.", final: false, error);
        }
    }
}
