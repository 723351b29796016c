using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Ledger;

public sealed class MonthTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(null, "2026-03"), InlineData("2026-03", "2026-03"), InlineData("2025-12", "2025-12")]
    [InlineData("2026-04", null), InlineData("1999-12", null), InlineData("2026-13", null), InlineData("x", null)]
    public void Only_months_that_have_begun_are_shown(string? text, string? expected) =>
        Month.Parse(text, Now)?.ToString("yyyy-MM", null).ShouldBe(expected);

    /// <summary>Usage of the last hour of a month, which is posted at its end, is that month's.</summary>
    [Fact]
    public async Task Months_follow_each_other_without_a_gap_and_the_usage_is_that_of_the_capsuls()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        // The last day of March: few hours have to be posted.
        rows.Time.Advance(TimeSpan.FromDays(29.5));
        await rows.RunningVmAsync(Cancel);
        var paid = rows.Now.AddDays(1.5);
        await rows.Db.ExecuteAsync(
            "INSERT INTO payments (created, email, dollars, method) VALUES (@paid, @email, 7, 'cash')",
            new { paid, email = VmRows.Email }, Cancel);
        rows.Time.Advance(TimeSpan.FromDays(3) + Metering.After);
        await new Metering(rows.Db, rows.Fence, rows.Time).CatchUpAsync(rows.Epoch, Cancel);
        var months = new List<Month>();
        for (var month = new DateTime(2026, 3, 1, 0, 0, 0, DateTimeKind.Utc); month <= rows.Now;
            month = month.AddMonths(1))
            months.Add(await Month.LoadAsync(rows.Db, VmRows.Email, month, rows.Now, Cancel));
        months.Count.ShouldBe(2);
        months[0].Opening.ShouldBe(0);
        months[1].Opening.ShouldBe(months[0].Closing);
        // The first payment was made by the clock of the server.
        months[1].Closing.ShouldBe(await rows.Db.AskAsync<decimal>(
            "SELECT posted - 100 FROM account_totals WHERE email = @email", new { email = VmRows.Email }, Cancel));
        months[1].Lines.Select(l => (l.At, l.Amount)).ShouldBe([(paid, 7m)]);
        // The size costs 5 dollars for 730.56 hours.
        months[0].Charged.Single().Seconds.ShouldBe(24 * 3600);
        months[0].Exactly.ShouldBe(5m * 24 / 730.56m, 1e-8m);
        foreach (var month in months) (month.Exactly - month.Usage).ShouldBeInRange(-0.02m, 0.02m);
        months[1].ToCsv("USD").Split("\r\n")[0].ShouldBe(
            "date,what,receipt,capsul,size,seconds,price_per_month,amount,currency,tax");
        months[1].ToCsv("USD").ShouldContain($"2026-05-01,\"closing balance\",,,,,,{months[1].Closing:0.00},USD,\r\n");
    }

    /// <summary>More payments than are listed: the sums are those of all.</summary>
    [Fact]
    public async Task The_balances_of_a_month_that_is_cut_are_right()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method, created) SELECT @email, 1, 'cash', @now "
            + "FROM generate_series(1, 1001)", new { email = VmRows.Email, now = rows.Now }, Cancel);
        var from = new DateTime(rows.Now.Year, rows.Now.Month, 1, 0, 0, 0, DateTimeKind.Utc);
        var month = await Month.LoadAsync(rows.Db, VmRows.Email, from, rows.Now, Cancel);
        month.IsCut.ShouldBeTrue();
        (month.Closing - month.Opening).ShouldBe(1001);
        month.ToCsv("USD").ShouldContain("\"lines that are not listed\",,,,,,1.00,USD");
        (await Month.LoadAsync(rows.Db, VmRows.Email, from.AddMonths(1), rows.Now, Cancel)).Opening
            .ShouldBe(month.Closing);
    }

    [Fact]
    public async Task A_person_sees_and_downloads_a_month_and_no_month_to_come()
    {
        await using var hub = await WebHub.StartAsync(Cancel);
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await Sample.FillLedgerAsync(hub, Cancel);
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ada.ReadAsync("/balance/month?Of=2026-02", Cancel)).ShouldContain("Statement for February 2026");
        (await ada.ReadAsync("/balance/month", Cancel)).ShouldContain("This month is not over");
        (await ada.GetAsync("/balance/month?Of=2026-04", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        using var csv = await ada.GetAsync("/balance/month?handler=Csv&Of=2026-02", Cancel);
        csv.Content.Headers.ContentDisposition!.FileName.ShouldBe("capsul-2026-02.csv");
        (await csv.Content.ReadAsStringAsync(Cancel)).ShouldContain("capsul-running000,f1-s,");
    }
}
