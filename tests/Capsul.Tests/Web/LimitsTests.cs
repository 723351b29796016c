using System.Net;
using Capsul.Hub.Web;

namespace Capsul.Tests.Web;

public sealed class LimitsTests
{
    [Theory]
    [InlineData("192.0.2.7", "192.0.2.7")]
    [InlineData("::ffff:192.0.2.7", "192.0.2.7")]
    [InlineData("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
    [InlineData("::1", "::")]
    public void An_ipv6_64_counts_as_one_address(string address, string expected) =>
        Limits.Neighbourhood(IPAddress.Parse(address)).ToString().ShouldBe(expected);

    [Fact]
    public void Clients_without_an_address_share_one_limit() => Limits.Neighbourhood(null).ShouldBe(IPAddress.None);
}
