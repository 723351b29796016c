using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Capsul.Foundation;

public static class Ports
{
    /// <summary>
    /// Below the ports that the kernel gives to outgoing connections, one of which could take it before it is used, and
    /// below those of relays.
    /// </summary>
    const int First = 10_000, Count = 12_000;

    static int next = RandomNumberGenerator.GetInt32(Count);

    /// <summary>
    /// A TCP port that is free on loopback at this moment. It is not reserved, but this process does not give it out
    /// again for a long time, and another one begins elsewhere.
    /// </summary>
    public static int TakeFree()
    {
        while (true)
        {
            var port = First + (int)((uint)Interlocked.Increment(ref next) % Count);
            using var probe = new TcpListener(IPAddress.Loopback, port);
            try
            {
                probe.Start();
                return port;
            }
            catch (SocketException)
            {
                // It is in use: the next one.
            }
        }
    }
}
