using Capsul.Spoke.Link;
using Capsul.Tests.Support;

namespace Capsul.Tests.Spoke.Link;

/// <summary>Which Hub a Spoke dials next.</summary>
public sealed class HubAddressesTests
{
    const string Joined = "hub.example.org:8443", One = "one.example.org:8443", Two = "two.example.org:8443";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task They_are_tried_in_turn_and_the_word_of_a_standby_comes_first()
    {
        var hubs = new HubAddresses(TestFolder.Make("hubs"), Joined);
        hubs.Current.ShouldBe(Joined);
        await hubs.KeepAsync([One, Two], Cancel);
        hubs.Current.ShouldBe(Joined, "the one it is connected to stays");
        hubs.Advance(active: null);
        hubs.Current.ShouldBe(One);
        hubs.Advance(active: Joined);
        hubs.Current.ShouldBe(Joined);
        hubs.Advance(active: null);
        hubs.Current.ShouldBe(One, "the one that was named does not respond: the others go on");
        hubs.Advance(active: null);
        hubs.Current.ShouldBe(Two);
    }

    [Fact]
    public async Task They_outlive_the_program_and_nonsense_is_left_out()
    {
        var folder = TestFolder.Make("hubs");
        await new HubAddresses(folder, Joined).KeepAsync([One, "", "not an address", "\u001b[31m:1", One], Cancel);
        var again = new HubAddresses(folder, Joined);
        again.Count.ShouldBe(2);
        again.Current.ShouldBe(One);
        again.Advance("also not an address");
        again.Current.ShouldBe(Joined);
    }
}
