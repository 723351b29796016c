using Capsul.Hub.Features.Billing;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Billing;

public sealed class BalanceTests
{
    /// <summary>30.44 days.</summary>
    const decimal SecondsPerMonth = 2_630_016;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Balance_is_valid_payments_less_usage_by_the_second()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.AddVmAsync(hub, "capsul-running000", "engine", "running", "on", 6, "", Cancel);
        await hub.Db.ExecuteAsync(
            """
            INSERT INTO usage_spans (vm, email, span, dollars_per_month) VALUES
                ('capsul-running000', @email, tstzrange(@now - interval '1000 seconds', @now - interval '900 seconds'),
                    5),
                ('capsul-running000', @email, tstzrange(@now - interval '7 seconds', NULL), 7.50)
            """, new { email = Sample.Email, now = hub.Now }, Cancel);
        var balance = await BalanceAsync(hub);
        balance.Paid.ShouldBe(45);
        balance.Used.ShouldBe((100 * 5m + 7 * 7.5m) / SecondsPerMonth, 0.0000000001m);
        hub.Time.Advance(TimeSpan.FromSeconds(1));
        (await BalanceAsync(hub)).Used.ShouldBe((100 * 5m + 8 * 7.5m) / SecondsPerMonth, 0.0000000001m);
        balance.RunwayDays!.Value.ShouldBe(balance.Balance / (7.5m / 30.44m));

        var cost = (await hub.Db.ListAsync<VmCostRow>(BillingSql.CostOfVms,
            new { email = Sample.Email, now = hub.Now, search = "", after = "", limit = 10 }, Cancel)).Single();
        cost.Used.ShouldBe((await BalanceAsync(hub)).Used, 0.0000000001m);
        (await hub.Db.FindAsync<decimal>(BillingSql.CostOfVm, new { vm = "capsul-running000", now = hub.Now }, Cancel))
            .ShouldBe(cost.Used);
    }

    [Fact]
    public async Task A_month_costs_the_price_of_a_month()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.AddVmAsync(hub, "capsul-running000", "engine", "running", "on", 6, "", Cancel);
        await hub.Db.ExecuteAsync(
            "INSERT INTO usage_spans (vm, email, span, dollars_per_month) "
                + "VALUES ('capsul-running000', @email, tstzrange(@now - interval '2630016 seconds', NULL), 7.50)",
            new { email = Sample.Email, now = hub.Now }, Cancel);
        (await BalanceAsync(hub)).Used.ShouldBe(7.5m);
    }

    [Fact]
    public async Task The_page_shows_balance_runway_payments_and_costs()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var visitor = await hub.SignInAsync(Sample.Email, Cancel);
        var page = await visitor.ReadAsync("/balance", Cancel);
        page.ShouldContain("$38.34");
        page.ShouldContain("38 days");
        page.ShouldContain("invalidated");
        page.ShouldContain("$2.22");
    }

    static async Task<BalanceRow> BalanceAsync(WebHub hub) =>
        (await hub.Db.FindAsync<BalanceRow>(BillingSql.Balance, new { email = Sample.Email, now = hub.Now }, Cancel))!;
}
