using System.Net;
using System.Net.Sockets;

namespace Capsul.Foundation;

public static class Ports
{
    /// <summary>A TCP port that is free on loopback at this moment. It is not reserved.</summary>
    public static int TakeFree()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }
}
