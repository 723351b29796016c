using Capsul.Foundation;

namespace Capsul.Tests.Foundation;

public sealed class PublicAddressTests
{
    [Theory]
    [InlineData("203.0.113.9", true)]
    [InlineData("172.32.0.1", true)]
    [InlineData("2001:db8::1", true)]
    [InlineData("10.77.0.2", false)]
    [InlineData("100.64.0.1", false)]
    [InlineData("172.31.255.255", false)]
    [InlineData("192.168.1.1", false)]
    [InlineData("169.254.1.1", false)]
    [InlineData("255.255.255.255", false)]
    [InlineData("fd00::1", false)]
    [InlineData("fe80::1", false)]
    [InlineData("::1", false)]
    [InlineData("nonsense", false)]
    [InlineData(null, false)]
    public void The_internet_has_a_route_to_public_addresses_alone(string? address, bool isPublic) =>
        PublicAddress.Is(address).ShouldBe(isPublic);
}
