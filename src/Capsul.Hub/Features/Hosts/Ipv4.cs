using System.Buffers.Binary;
using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;

namespace Capsul.Hub.Features.Hosts;

/// <summary>Arithmetic on IPv4 addresses.</summary>
public static class Ipv4
{
    public static bool TryParse(string text, out IPAddress address) =>
        IPAddress.TryParse(text, out address!) && address.AddressFamily == AddressFamily.InterNetwork;

    public static uint Number(IPAddress address) => BinaryPrimitives.ReadUInt32BigEndian(address.GetAddressBytes());

    /// <summary>Both ends included. The caller has checked how many addresses that is.</summary>
    public static IEnumerable<IPAddress> Between(IPAddress first, IPAddress last)
    {
        for (long n = Number(first); n <= Number(last); n++) yield return Address((uint)n);
    }

    /// <summary>The reverse of <see cref="Number"/>.</summary>
    public static IPAddress Address(uint number)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, number);
        return new IPAddress(bytes);
    }

    /// <summary>
    /// The MAC address that belongs to an address: 52:54 (the start of QEMU's locally administered prefix) and the four
    /// bytes of the address.
    /// </summary>
    public static string Mac(IPAddress address) =>
        string.Join(':', new PhysicalAddress([0x52, 0x54, .. address.GetAddressBytes()])
            .GetAddressBytes().Select(b => b.ToString("x2")));
}
