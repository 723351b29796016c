using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Sizes;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.Sizes;

public sealed class SetPriceTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("9", "", "2026-03-01 12:00")]
    [InlineData(" 9.50 ", "2026-03-08", "2026-03-08 00:00")]
    [InlineData("0", "2026-03-08 07:30", "2026-03-08 07:30")]
    [InlineData("-1", "", null), InlineData("1,50", "", null), InlineData("x", "", null), InlineData("", "", null)]
    [InlineData("1.505", "", null), InlineData("100000", "", null), InlineData("NaN", "", null)]
    [InlineData("9", "8.3.2026", null), InlineData("9", "2026-02-30", null), InlineData("9", "tomorrow", null)]
    public void A_price_and_its_date_are_read(string dollars, string from, string? expected)
    {
        var outcome = SetPrice.Read(new SetPrice.Input("f1-s", dollars, from), 2, Now);
        (outcome.Value is { } plan ? $"{plan.From:yyyy-MM-dd HH:mm}" : null).ShouldBe(expected);
    }

    [Theory]
    [InlineData("9", 7, 3, null)]
    [InlineData("9", 6, 3, "announce it at least 7 days ahead")]
    [InlineData("9", 0, 0, null)]
    [InlineData("6", 0, 3, null)]
    [InlineData("7.50", 9, 3, "already its price")]
    [InlineData("6", -1, 3, "has passed")]
    [InlineData("6", 4000, 3, "ten years")]
    public void A_rise_is_announced_a_week_before(string dollars, int days, int vms, string? refused)
    {
        var problem = SetPrice.Decide(
            new SetPrice.Plan(decimal.Parse(dollars, CultureInfo.InvariantCulture), Now.AddDays(days)),
            new PriceFactsRow(7.50m, null, vms), Now);
        if (refused is null) problem.ShouldBeNull();
        else problem!.Message.ShouldContain(refused);
    }

    [Fact]
    public async Task Those_whose_price_rises_are_emailed_once_and_told_when_it_is_withdrawn()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.RunningVmAsync(Cancel);
        (await SetAsync(rows, "9", "2026-04-01")).OrThrow().Told.ShouldBe(1);
        (await SetAsync(rows, "9", "2026-04-01")).Problem!.Message.ShouldContain("already");
        (await SetAsync(rows, "9", "2026-04-02")).Problem!.Message.ShouldContain("already its price");
        (await SetAsync(rows, "1", "2026-05-01")).OrThrow().Told.ShouldBe(0, "it falls");
        (await SetAsync(rows, "9", "2026-04-01", "nothing")).Problem!.Message.ShouldContain("no size called nothing");
        var mail = await rows.Db.AskAsync<string>(
            "SELECT recipient || ' ' || subject || body FROM mails", null, Cancel);
        mail.ShouldStartWith("ada@example.org From 1 Apr 2026, 00:00 UTC, f1-xs at Capsul costs $9.00 a month");
        mail.ShouldContain("You have 1 capsul of size f1-xs at Capsul. Each costs $5.00 a month now.");
        var id = await rows.Db.AskAsync<long>("SELECT id FROM prices WHERE dollars_per_month = 9", null, Cancel);
        (await WithdrawAsync(rows, id)).OrThrow().ShouldContain("1 account is emailed");
        (await WithdrawAsync(rows, id)).Problem!.Message.ShouldContain("withdrawn already");
        (await rows.CountAsync("mails", "subject LIKE '%will not rise'", Cancel)).ShouldBe(1);
        // The date is free again.
        (await SetAsync(rows, "8", "2026-04-01")).OrThrow();
    }

    [Fact]
    public async Task What_is_in_force_is_neither_withdrawn_nor_changed_nor_deleted()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetAsync(rows, "9", "2026-04-01")).OrThrow();
        var id = await rows.Db.AskAsync<long>("SELECT max(id) FROM prices", null, Cancel);
        rows.Time.Advance(TimeSpan.FromDays(40));
        (await WithdrawAsync(rows, id)).Problem!.Message.ShouldContain("is in force, and stays");
        foreach (var sql in (string[])[
            "UPDATE prices SET dollars_per_month = 1", "UPDATE prices SET active_from = active_from - interval '1 day'",
            "DELETE FROM prices", "TRUNCATE prices", "UPDATE prices SET withdrawn = '2026-04-02' WHERE id > 1",
            "UPDATE sizes SET dollars_per_month = 1",
            "INSERT INTO prices (size, active_from, dollars_per_month, announced) VALUES ('f1-s', '2026-01-01', 1, "
                + "'2026-01-02')"])
            (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel)))
                .SqlState.ShouldBe(PostgresErrorCodes.CheckViolation, sql);
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "INSERT INTO prices (size, active_from, dollars_per_month, announced) "
                + "VALUES ('f1-xs', '2026-04-01', 'NaN', '2026-01-02')", null, Cancel)))
            .ConstraintName.ShouldBe("prices_dollars_per_month_check");
    }

    [Fact]
    public async Task An_operator_announces_a_price_on_the_page_and_its_customers_see_it()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        await Sample.FillVmsAsync(hub, Cancel);
        await hub.Db.ExecuteAsync("UPDATE vms SET price_from = '1970-01-01 00:00:00+00'", null, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        var soon = await ops.PostAsync("/operator/prices", "/operator/prices?handler=Set", Cancel,
            ("Size", "f1-s"), ("Dollars", "9"), ("From", "2026-03-02")).ReadAsync(Cancel);
        soon.Status.ShouldBe(400);
        soon.Page.ShouldContain("4 capsuls have this size, and the price rises: announce it at least 7 days ahead");
        var set = await ops.PostAsync("/operator/prices", "/operator/prices?handler=Set", Cancel,
            ("Size", "f1-s"), ("Dollars", "9"), ("From", "2026-03-12")).ReadAsync(Cancel);
        set.Page.ShouldContain("f1-s costs $9.00 a month from 12 Mar 2026, 00:00 UTC. 1 account is emailed.");
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        foreach (var path in (string[])["/", "/vms/new", "/vms/capsul-running000"])
            (await ada.ReadAsync(path, Cancel)).ShouldContain("12 Mar 2026, 00:00 UTC", customMessage: path);
        var id = await hub.Db.AskAsync<long>("SELECT max(id) FROM prices", null, Cancel);
        (await ops.PostAsync("/operator/prices", "/operator/prices?handler=Withdraw", Cancel, ("Id", $"{id}"))
            .ReadAsync(Cancel)).Page.ShouldContain("Withdrawn: f1-s will not cost");
        (await ada.ReadAsync("/vms/new", Cancel)).ShouldNotContain("12 Mar");
    }

    static Task<Outcome<SetPrice.Done>> SetAsync(VmRows rows, string dollars, string from, string size = "f1-xs") =>
        SetPrice.RunAsync(
            rows.Db, "ops", new SetPrice.Input(size, dollars, from), rows.Settings, rows.Time, Cancel);

    static Task<Outcome<string>> WithdrawAsync(VmRows rows, long id) =>
        WithdrawPrice.RunAsync(rows.Db, "ops", id, rows.Settings, rows.Time, Cancel);
}
