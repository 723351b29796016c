using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Dunning;

namespace Capsul.Tests.Features.Dunning;

public sealed class DecideDunningTests
{
    internal static readonly DunningTable Table = new(
    [
        new(1, "mail", "low_balance", 168, 0), new(2, "mail", "low_balance", 24, 24),
        new(3, "mail", "used_up", 0, 12), new(4, "stop", "stopped", 0, 72),
        new(5, "mail", "last_notice", 0, 168), new(6, "delete", "deleted", 0, 72),
    ]);

    /// <summary>A price at which a dollar lasts a day; a month has 30.44 days.</summary>
    const decimal PerMonth = 30.44m;

    static short? Decide(decimal balance, short? step = null, long? toldHours = 1000, bool held = false,
        bool charged = true, decimal perMonth = PerMonth)
    {
        var facts = new DecideDunning.Facts(new BalanceRow(balance, 0, perMonth), step,
            toldHours is { } hours ? 3_600_000 - hours * 3600 : null, charged, held, 3_600_000);
        return DecideDunning.Decide(facts, Table) switch
        {
            null => step,
            { Step: null } => null,
            { Step: { Step: var to } } => to,
        };
    }

    [Theory]
    [InlineData(8, null, null)]
    [InlineData(7, null, 1)]
    [InlineData(-5, null, 1)]
    [InlineData(2, 1, 1)]
    [InlineData(1, 1, 2)]
    [InlineData(0.5, 2, 2)]
    [InlineData(0, 2, 3)]
    [InlineData(-1, 3, 4)]
    [InlineData(-1, 4, 5)]
    [InlineData(-1, 5, 6)]
    [InlineData(-1, 6, 6)]
    public void Each_step_is_taken_when_it_holds_and_none_is_left_out(double balance, int? from, int? to) =>
        Decide((decimal)balance, (short?)from).ShouldBe((short?)to);

    [Theory]
    [InlineData(3, 71, 3)]
    [InlineData(3, 72, 4)]
    [InlineData(4, 167, 4)]
    [InlineData(4, 168, 5)]
    [InlineData(5, 71, 5)]
    [InlineData(5, 72, 6)]
    [InlineData(3, null, 3)]
    [InlineData(5, null, 5)]
    public void None_is_taken_before_the_email_was_handed_over_and_its_time_has_passed(int from, int? told, int to) =>
        Decide(-1, (short)from, told).ShouldBe((short)to);

    [Theory]
    [InlineData(30, 6, null)]
    [InlineData(5, 6, 1)]
    [InlineData(0.5, 4, 2)]
    [InlineData(-0.1, 4, 4)]
    public void Who_pays_goes_back_to_what_still_holds(double balance, int from, int? to) =>
        Decide((decimal)balance, (short)from, toldHours: 0).ShouldBe((short?)to);

    [Fact]
    public void Nobody_goes_further_while_held_or_while_nothing_is_charged()
    {
        Decide(-1, 3, held: true).ShouldBe((short)3);
        Decide(-1, 3, charged: false).ShouldBe((short)3);
        Decide(-1, null, charged: false).ShouldBeNull();
        Decide(30, 4, held: true).ShouldBeNull("but back");
    }

    [Fact]
    public void Who_went_back_to_none_is_not_emailed_again_within_a_day()
    {
        Decide(3, 0, toldHours: 23).ShouldBe((short)0);
        Decide(3, 0, toldHours: 24).ShouldBe((short)1);
        Decide(30, 0, toldHours: 24).ShouldBe((short)0);
    }

    [Fact]
    public void An_account_without_capsuls_takes_no_step() => Decide(-1, 4, perMonth: 0).ShouldBeNull();

    [Fact]
    public void The_outlook_is_the_next_step_that_hurts()
    {
        var now = new DateTime(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);
        Table.Describe(null, true, now, TimeSpan.Zero).ShouldContain("stopped 3 days after that email");
        Table.Describe(Table.Steps[0], true, now, TimeSpan.Zero).ShouldContain("stopped 3 days after that email");
        // The balance has fallen below zero at once: steps 2, 3 and 4 are still to come.
        Table.Describe(Table.Steps[0], false, now, TimeSpan.Zero).ShouldContain("stopped in 108 hours");
        Table.Describe(Table.Steps[2], false, now, TimeSpan.Zero)
            .ShouldBe("Unless you add money, your capsuls are stopped in 3 days (on 4 Mar 2026, 12:00 UTC, or later).");
        Table.Describe(Table.Steps[3], false, now, TimeSpan.FromHours(5))
            .ShouldContain("deleted with their disks in 235 hours");
        Table.Describe(Table.Steps[5], false, now, TimeSpan.Zero).ShouldBeEmpty();
        new DunningTable([]).Describe(null, true, now, TimeSpan.Zero).ShouldBeEmpty();
    }
}
