using System.Net;
using System.Net.Sockets;

namespace Capsul.Foundation;

public static class Ports
{
    /// <summary>
    /// A TCP port of the loopback that is free at this moment. Nothing holds it until the caller does.
    /// </summary>
    public static int TakeFree()
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }
}
