using Capsul.Foundation;

namespace Capsul.Tests.Foundation;

/// <summary>Ports for programs that are about to start.</summary>
public sealed class PortsTests
{
    [Fact]
    public void None_is_given_out_twice_before_it_is_used() =>
        Enumerable.Range(0, 2000).Select(_ => Ports.TakeFree()).ShouldBeUnique();
}
