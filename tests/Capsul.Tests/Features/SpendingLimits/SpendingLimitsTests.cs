using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.SpendingLimits;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.SpendingLimits;

public sealed class SpendingLimitsTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static SetSpendingLimits.Input Input(string? cap = null, string? below = null, string? above = null) =>
        new(cap, below, above);

    static async Task SetAsync(VmRows rows, string? cap = null, string? below = null, string? above = null) =>
        (await SetSpendingLimits.RunAsync(
            rows.Db, rows.Settings, VmRows.Email, Input(cap, below, above), rows.Time, Cancel)).OrThrow();

    static Task<int> LookAsync(VmRows rows) => new SpendingSweep(rows.Db, rows.Fence, rows.Settings, rows.Time,
        NullLogger<SpendingSweep>.Instance).LookAsync(rows.Epoch, Cancel);

    static async Task<IReadOnlyList<string>> MailsAsync(VmRows rows) =>
        await rows.Db.ListAsync<string>("SELECT subject FROM mails ORDER BY id", null, Cancel);

    static Task<SpendingLimitRow> RowAsync(VmRows rows) => rows.Db.AskAsync<SpendingLimitRow>(SpendingLimitSql.Find,
        new { email = VmRows.Email, now = rows.Now, month = SetSpendingLimits.MonthOf(rows.Now) }, Cancel);

    static Task PayAsync(VmRows rows, decimal dollars) => rows.Db.ExecuteAsync(
        "INSERT INTO payments (email, dollars, method) VALUES (@email, @dollars, 'cash')",
        new { email = VmRows.Email, dollars }, Cancel);

    [Theory]
    [InlineData("MonthlyCap", "0"), InlineData("MonthlyCap", "-5"), InlineData("MonthlyCap", "1,5")]
    [InlineData("BalanceBelow", "x"), InlineData("BalanceBelow", "1.005"), InlineData("BalanceBelow", "1e3")]
    [InlineData("UsageAbove", "99999999999999999999999999999999"), InlineData("UsageAbove", "NaN")]
    public void What_is_wrong_is_said_beside_its_field(string field, string typed) => SetSpendingLimits.Decide(
        field == "MonthlyCap" ? Input(typed) : field == "BalanceBelow" ? Input(below: typed) : Input(above: typed), 2)
        .Problem!.Field.ShouldBe(field);

    [Fact]
    public void Nothing_typed_is_no_limit() =>
        SetSpendingLimits.Decide(Input(" ", "", null), 2).OrThrow().IsEmpty.ShouldBeTrue();

    /// <summary>
    /// The usage of a month is what a naive sum of the spans comes to: of those that run, ended in it, began in it, and
    /// lie ahead of this clock.
    /// </summary>
    [Fact]
    public async Task The_usage_of_a_month_is_the_sum_of_its_time()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            INSERT INTO usage_spans (vm, email, span, dollars_per_month) VALUES
                (@vm, @email, tstzrange('2026-01-10', '2026-01-20'), 9),
                (@vm, @email, tstzrange('2026-02-27', '2026-03-01 06:00+00'), 30.44),
                (@vm, @email, tstzrange('2026-03-01 07:00+00', '2026-03-01 09:00+00'), 60.88),
                (@vm, @email, tstzrange('2026-03-01 09:00+00', '2026-03-01 13:00+00'), 30.44),
                (@vm, @email, tstzrange('2026-03-01 14:00+00', NULL), 30.44)
            """, new { vm, email = VmRows.Email }, Cancel);
        // At noon: 6 hours at a dollar a day, 2 at two, 3 at one; the rest is ahead.
        (await RowAsync(rows)).MonthUsed.ShouldBe((6 + 4 + 3) / 24m, 1e-12m);
        rows.Time.Advance(TimeSpan.FromHours(12));
        (await RowAsync(rows)).MonthUsed.ShouldBe((6 + 4 + 4 + 10) / 24m, 1e-12m);
        var row = await RowAsync(rows);
        var all = await rows.Db.AskAsync<BalanceRow>(
            BillingSql.Balance, new { email = VmRows.Email, now = rows.Now }, Cancel);
        row.Balance.ShouldBe(all);
        rows.Time.Advance(TimeSpan.FromDays(31));
        (await RowAsync(rows)).MonthUsed.ShouldBe(1, 1e-12m, "one day of April");
    }

    [Fact]
    public async Task A_create_that_would_pass_the_cap_is_refused_and_nothing_is_stopped()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var first = await rows.RunningVmAsync(Cancel);
        // At noon of the first of March: 30.5 days of 5 dollars a month are 5.01, twice that are 10.02.
        await SetAsync(rows, cap: "10.01");
        var refused = (await rows.TryNewVmAsync(Cancel)).Problem!;
        (refused.Kind, refused.Message).ShouldBe((ProblemKind.Conflict,
            "With this capsul, this month would cost $10.02, and you have set that it may cost $10.01. To change that: "
                + "Balance, Spending limits."));
        await SetAsync(rows, cap: "10.02");
        await rows.NewVmAsync(Cancel);
        await SetAsync(rows, cap: "0.01");
        (await rows.FindAsync(first, Cancel)).State.ShouldBe("running");
        (await rows.ChangeAsync(VmActions.Stop, first, Cancel)).Problem.ShouldBeNull();
        await rows.Db.ExecuteAsync(
            "UPDATE vms SET state = 'stopped', wanted = 'off' WHERE id = @first; "
                + "UPDATE operations SET status = 'done', finished = @now WHERE vm = @first",
            new { first, now = rows.Now }, Cancel);
        // What is stopped costs the same, so starting it spends nothing more.
        (await rows.ChangeAsync(VmActions.Start, first, Cancel)).Problem.ShouldBeNull();
        await SetAsync(rows);
        (await rows.CountAsync("spending_limits", "TRUE", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task Many_at_once_never_pass_the_cap()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            """
            UPDATE hosts SET memory_mb = 1048576, disk_free_mb = 100000000;
            UPDATE accounts SET max_vms = 1000;
            INSERT INTO addresses (host, address, mac)
            SELECT 'rack1', '10.77.1.0'::inet + n, ('52:54:00:01:00:' || lpad(to_hex(n), 2, '0'))::macaddr
            FROM generate_series(1, 100) n;
            """, null, Cancel);
        // Three of 5.01 dollars.
        await SetAsync(rows, cap: "18");
        var key = await rows.Db.AskAsync<long>("SELECT id FROM ssh_keys", null, Cancel);
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => CreateVm.RunAsync(
            rows.Db, VmRows.Email, new CreateVm.Input(null, "f1-xs", "tiny", [key]), rows.Settings, rows.Time,
            Cancel)));
        outcomes.Count(o => o.Problem is null).ShouldBe(3);
        outcomes.Where(o => o.Problem is not null)
            .ShouldAllBe(o => o.Problem!.Message.Contains("you have set", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_balance_that_falls_below_is_told_once_until_it_is_higher_again()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await SetAsync(rows, below: "99.50");
        (await LookAsync(rows)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromDays(4));
        (await LookAsync(rows)).ShouldBe(1);
        for (var n = 0; n < 3; n++) (await LookAsync(rows)).ShouldBe(0);
        (await MailsAsync(rows)).ShouldBe(["Your balance at Capsul is below $99.50"]);
        await PayAsync(rows, 1);
        (await LookAsync(rows)).ShouldBe(1, "it is over");
        (await MailsAsync(rows)).Count.ShouldBe(1);
        rows.Time.Advance(TimeSpan.FromDays(7));
        (await LookAsync(rows)).ShouldBe(1);
        (await MailsAsync(rows)).Count.ShouldBe(2);
        // What is so already is no crossing.
        await SetAsync(rows, below: "1000");
        (await LookAsync(rows)).ShouldBe(0);
        await SetAsync(rows, below: "50");
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        (await LookAsync(rows)).ShouldBe(1);
        (await MailsAsync(rows)).Last().ShouldBe("Your balance at Capsul is below $50.00");
    }

    [Fact]
    public async Task A_month_that_costs_more_is_told_once_a_month()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        await SetAsync(rows, above: "2");
        rows.Time.Advance(TimeSpan.FromDays(10));
        (await LookAsync(rows)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromDays(3));
        (await LookAsync(rows)).ShouldBe(1);
        (await LookAsync(rows)).ShouldBe(0);
        (await MailsAsync(rows)).ShouldBe(["You have used more than $2.00 at Capsul this month"]);
        rows.Time.Advance(TimeSpan.FromDays(20));
        (await LookAsync(rows)).ShouldBe(0, "April has begun");
        rows.Time.Advance(TimeSpan.FromDays(12));
        (await LookAsync(rows)).ShouldBe(1);
        (await MailsAsync(rows)).Count.ShouldBe(2);
    }

    [Theory]
    [InlineData("monthly_cap = 0", "spending_limits_monthly_cap_check")]
    [InlineData("monthly_cap = 'NaN'", "spending_limits_monthly_cap_check")]
    [InlineData("balance_below = -1", "spending_limits_balance_below_check")]
    [InlineData("usage_above = 'Infinity'", "spending_limits_usage_above_check")]
    [InlineData("monthly_cap = NULL", "spending_limits_some")]
    [InlineData("balance_told = now()", "spending_limits_told_of_balance")]
    [InlineData("usage_told = now()", "spending_limits_told_of_usage")]
    public async Task The_table_refuses_what_makes_no_sense(string change, string constraint)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await SetAsync(rows, cap: "5");
        (await Should.ThrowAsync<PostgresException>(() =>
            rows.Db.ExecuteAsync($"UPDATE spending_limits SET {change}", null, Cancel)))
            .ConstraintName.ShouldBe(constraint);
    }

    [Fact]
    public async Task They_are_set_on_a_page_exported_and_forgotten_with_the_person()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        using var owner = await hub.SignInAsync(Sample.Email, Cancel);
        (await owner.ReadAsync("/balance", Cancel)).ShouldContain("/balance/limits");
        var refused = await owner.PostAsync("/balance/limits", Cancel,
            ("MonthlyCap", "50"), ("BalanceBelow", "five"), ("UsageAbove", "")).ReadAsync(Cancel);
        refused.Status.ShouldBe(400);
        refused.Page.ShouldContain("href=\"#BalanceBelow\"");
        refused.Page.ShouldContain("value=\"five\"");
        (await owner.PostAsync("/balance/limits", Cancel,
            ("MonthlyCap", "0.01"), ("BalanceBelow", "5"), ("UsageAbove", "")).ReadAsync(Cancel)).Page
            .ShouldContain("Your spending limits are saved.");
        var page = await owner.ReadAsync("/balance/limits", Cancel);
        page.ShouldContain("value=\"0.01\"");
        page.ShouldContain("nothing new can be created this month");
        using var eve = await hub.SignInAsync("eve@example.org", Cancel);
        (await eve.ReadAsync("/balance/limits", Cancel)).ShouldNotContain("0.01");
        await hub.Db.ExecuteAsync("SELECT forget_person(@email, 'closed-1')", new { email = Sample.Email }, Cancel);
        (await hub.Db.AskAsync<long>("SELECT count(*) FROM spending_limits", null, Cancel)).ShouldBe(0);
    }
}
