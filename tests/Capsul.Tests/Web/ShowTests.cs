using System.Globalization;
using Capsul.Hub.Web;

namespace Capsul.Tests.Web;

public sealed class ShowTests
{
    [Theory]
    [InlineData(0, "$0.00")]
    [InlineData(1_999, "$0.19")]
    [InlineData(-1_999, "−$0.20")]
    [InlineData(-49, "−$0.01")]
    [InlineData(12_345_678, "$1,234.56")]
    public void A_balance_is_rounded_down_to_the_cent(int tenThousandths, string shown) =>
        Show.Dollars(tenThousandths / 10_000m).ShouldBe(shown);

    [Theory]
    [InlineData(0, "$0.00")]
    [InlineData(12, "$0.0012")]
    [InlineData(22_176, "$2.22")]
    public void A_cost_is_rounded_up_to_the_cent_and_visible_from_the_first_minute(
        int tenThousandths, string shown) =>
        Show.Cost(tenThousandths / 10_000m).ShouldBe(shown);

    [Fact]
    public void Balance_and_usage_add_up_to_the_payments_to_the_cent()
    {
        var random = new Random(7);
        for (var i = 0; i < 1000; i++)
        {
            var used = random.Next(100, 1_000_000) / 10_000m;
            (decimal.Parse(Show.Dollars(200 - used)[1..], CultureInfo.InvariantCulture)
                + decimal.Parse(Show.Cost(used)[1..], CultureInfo.InvariantCulture)).ShouldBe(200);
        }
    }

    [Theory]
    [InlineData(5, "5 s")]
    [InlineData(65, "1 min 5 s")]
    [InlineData(7_260, "2 h 1 min")]
    [InlineData(200_000, "2 days")]
    public void A_duration_is_shown_in_its_two_largest_units(int seconds, string said) =>
        Show.Span(TimeSpan.FromSeconds(seconds)).ShouldBe(said);

    [Theory]
    [InlineData(512, "512 MiB")]
    [InlineData(3072, "3 GiB")]
    public void Memory_is_shown_in_whole_units(int mb, string said) => Show.Memory(mb).ShouldBe(said);
}
