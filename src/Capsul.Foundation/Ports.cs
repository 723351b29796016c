using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Capsul.Foundation;

public static class Ports
{
    /// <summary>
    /// Below the ports that the kernel gives to outgoing connections, one of which could take it before it is used, and
    /// below the default ports of relays.
    /// </summary>
    const int First = 10_000, Last = 19_999;

    /// <summary>A TCP port that is free on loopback at this moment. It is not reserved.</summary>
    public static int TakeFree()
    {
        while (true)
        {
            var port = RandomNumberGenerator.GetInt32(First, Last + 1);
            using var probe = new TcpListener(IPAddress.Loopback, port);
            try
            {
                probe.Start();
                return port;
            }
            catch (SocketException)
            {
                // It is in use: another one.
            }
        }
    }
}
