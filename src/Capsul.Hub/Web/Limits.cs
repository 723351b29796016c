using System.Net;
using System.Net.Sockets;
using System.Threading.RateLimiting;
using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Web;

/// <summary>
/// General rate limits per client address; limits per account are decided from rows. An IPv6 /64 counts as one address,
/// because one person usually has all of it.
/// </summary>
public static class Limits
{
    /// <summary>Largest request body, bytes. The largest form contains an SSH key.</summary>
    public const long MaxBodyBytes = 64 * 1024;

    /// <summary>Requests that an address may make in a burst.</summary>
    public const int Burst = 400;

    /// <summary>Sustained requests per second.</summary>
    public const int PerSecond = 40;

    public static PartitionedRateLimiter<HttpContext> PerAddress() =>
        PartitionedRateLimiter.Create<HttpContext, IPAddress>(context =>
            // The error page of a rejected request must not be rejected itself.
            Problems.IsExplaining(context)
                ? RateLimitPartition.GetNoLimiter(IPAddress.None)
                : RateLimitPartition.GetTokenBucketLimiter(
                    Neighbourhood(context.Connection.RemoteIpAddress), _ => new TokenBucketRateLimiterOptions
                    {
                        TokenLimit = Burst,
                        TokensPerPeriod = PerSecond,
                        ReplenishmentPeriod = TimeSpan.FromSeconds(1),
                        QueueLimit = 0,
                    }));

    /// <summary>
    /// The /48 around an IPv6 address, since a provider may assign one customer a whole /48; for IPv4 the address
    /// itself.
    /// </summary>
    public static IPAddress Site(IPAddress address) => address.AddressFamily == AddressFamily.InterNetworkV6
        ? new IPAddress([.. address.GetAddressBytes().AsSpan(0, 6), .. new byte[10]]) : address;

    /// <summary>What counts as one address.</summary>
    public static IPAddress Neighbourhood(IPAddress? address) => address switch
    {
        null => IPAddress.None,
        { IsIPv4MappedToIPv6: true } => address.MapToIPv4(),
        { AddressFamily: AddressFamily.InterNetworkV6 } =>
            new IPAddress([.. address.GetAddressBytes().AsSpan(0, 8), .. new byte[8]]),
        _ => address,
    };
}
