using Capsul.Hub.Web;

namespace Capsul.Tests.Web;

public sealed class ShowTests
{
    [Theory]
    [InlineData(0, "$0.00")]
    [InlineData(1_999, "$0.19")]
    [InlineData(-1_999, "−$0.19")]
    [InlineData(-49, "$0.00")]
    [InlineData(12_345_678, "$1,234.56")]
    public void Sums_are_cut_to_cents_towards_zero(int tenThousandths, string shown) => Show.Dollars(tenThousandths / 10_000m).ShouldBe(shown);

    [Fact]
    public void The_cost_of_the_first_minutes_is_seen() => Show.FineDollars(0.0012m).ShouldBe("$0.0012");

    [Theory]
    [InlineData(5, "5 s")]
    [InlineData(65, "1 min 5 s")]
    [InlineData(7_260, "2 h 1 min")]
    [InlineData(200_000, "2 days")]
    public void A_span_is_said_in_its_two_largest_units(int seconds, string said) => Show.Span(TimeSpan.FromSeconds(seconds)).ShouldBe(said);

    [Theory]
    [InlineData(512, "512 MiB")]
    [InlineData(3072, "3 GiB")]
    public void Memory_is_said_in_whole_units(int mb, string said) => Show.Memory(mb).ShouldBe(said);
}
