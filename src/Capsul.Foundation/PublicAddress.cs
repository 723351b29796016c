using System.Net;
using System.Net.Sockets;

namespace Capsul.Foundation;

/// <summary>Whether an address is one that the internet can have a route to.</summary>
public static class PublicAddress
{
    /// <summary>
    /// IANA's registry of special-purpose addresses (RFC 6890), without those for documentation: examples and tests use
    /// them as what they stand for. Of IPv6 only 2000::/3 is given out.
    /// </summary>
    public static IReadOnlyList<string> SpecialRanges { get; } = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10",
        "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "224.0.0.0/3"];

    static readonly IPNetwork[] Others = [.. SpecialRanges.Select(IPNetwork.Parse)];

    static readonly IPNetwork Global6 = IPNetwork.Parse("2000::/3");

    public static bool Is(IPAddress address) => address.AddressFamily == AddressFamily.InterNetworkV6
        ? Global6.Contains(address)
        : !Others.Any(o => o.Contains(address));

    /// <param name="address">Null is none.</param>
    public static bool Is(string? address) => IPAddress.TryParse(address, out var parsed) && Is(parsed);
}
