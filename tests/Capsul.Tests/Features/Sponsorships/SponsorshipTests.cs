using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Sponsorships;
using Capsul.Hub.Reconcilers;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using static Capsul.Tests.Features.Sponsorships.FundTests;

namespace Capsul.Tests.Features.Sponsorships;

/// <summary>Money from the fund by the month. It is 1 March 2026, 12:00.</summary>
public sealed class SponsorshipTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Task<Outcome<SponsorshipRow>> SponsorAsync(VmRows rows, string amount, string? until = null,
        string email = Kim) => SponsorAccount.RunAsync(rows.Db, rows.Settings, "ops",
            new SponsorAccount.Input(email, amount, until, "training"), rows.Time, Cancel);

    static Task<int> LookAsync(VmRows rows) => new SponsorshipSweep(rows.Db, rows.Fence, rows.Time,
        NullLogger<SponsorshipSweep>.Instance).LookAsync(rows.Epoch, Cancel);

    static Task<SponsorshipRow> FindAsync(VmRows rows, long id = 1) =>
        rows.Db.AskAsync<SponsorshipRow>(SponsorshipSql.Find, new { id }, Cancel);

    static async Task<IReadOnlyList<string>> AlertsAsync(VmRows rows)
    {
        await new AlertWatch(rows.Db, rows.Fence, rows.Settings, new LinkAuthority(rows.Now.AddYears(10)), rows.Time)
            .LookAsync(rows.Epoch, Cancel);
        return await rows.Db.ListAsync<string>(
            "SELECT message FROM alerts WHERE kind = 'fund_short' AND cleared IS NULL", null, Cancel);
    }

    [Theory]
    [InlineData("10", "", null), InlineData("7.50", "2026-03-02", null), InlineData("0", "", "Amount")]
    [InlineData("10", "2026-03-01", "Until"), InlineData("10", "soon", "Until")]
    public void What_an_operator_types_is_checked(string amount, string until, string? field) =>
        SponsorAccount.Decide(new SponsorAccount.Facts(Kim, true, false, false),
            new SponsorAccount.Input(Kim, amount, until, "why"), 2, Now).Problem?.Field.ShouldBe(field);

    [Theory]
    [InlineData(0, null, false, 10, PaySponsorship.Step.Pay), InlineData(1, null, false, 10, PaySponsorship.Step.None)]
    [InlineData(0, null, false, 9.99, PaySponsorship.Step.Wait)]
    [InlineData(0, null, true, 10, PaySponsorship.Step.None)]
    [InlineData(0, 1, false, 10, PaySponsorship.Step.Pay), InlineData(0, 0, false, 10, PaySponsorship.Step.End)]
    [InlineData(5, 3, false, 10, PaySponsorship.Step.End), InlineData(-40, 0, false, 10, PaySponsorship.Step.Pay)]
    public void A_month_is_paid_whole_or_not_at_all(
        int dueInDays, int? untilInDays, bool isClosing, double fund, PaySponsorship.Step step) =>
        PaySponsorship.Decide(new PaySponsorship.Facts(new SponsorshipRow(1, Kim, 10, Now.AddDays(-90),
            untilInDays is { } days ? Now.AddDays(days) : null, 3, Now.AddDays(dueInDays), "ops", "", null, null),
            isClosing, (decimal)fund), Now).ShouldBe(step);

    [Fact]
    public async Task Each_month_is_paid_once_also_after_a_time_without_a_hub()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "100")).OrThrow();
        rows.Time.Advance(TimeSpan.FromDays(30));
        (await SponsorAsync(rows, "10")).OrThrow().NextDue.ShouldBe(new DateTime(2026, 4, 30, 12, 0, 0));
        (await PaidAsync(rows)).ShouldBe(10, "the first is paid at once");
        (await LookAsync(rows)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromDays(30));
        (await LookAsync(rows)).ShouldBe(1);
        // It began on the 31st, and goes on so: no month is left out, and none moves.
        (await FindAsync(rows)).NextDue.ShouldBe(new DateTime(2026, 5, 31, 12, 0, 0));
        rows.Time.Advance(TimeSpan.FromDays(92));
        (await LookAsync(rows)).ShouldBe(3);
        (await LookAsync(rows)).ShouldBe(0);
        (await PaidAsync(rows)).ShouldBe(50);
        (await FundAsync(rows)).ShouldBe(50);
        (await SponsorAsync(rows, "1")).Problem!.Message.ShouldContain("sponsored already");
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Hubs_that_pay_at_the_same_time_pay_once()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await GiveAsync(rows, "100")).OrThrow();
        string[] emails = [.. Enumerable.Range(0, 6).Select(n => $"p{n}@example.org")];
        foreach (var email in emails) await AddAccountAsync(rows, email);
        foreach (var email in emails) (await SponsorAsync(rows, "6", email: email)).OrThrow();
        rows.Time.Advance(TimeSpan.FromDays(62));
        var paid = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => LookAsync(rows)));
        // 64 are left, so ten of the twelve months that are due.
        paid.Sum().ShouldBe(10);
        (await FundAsync(rows)).ShouldBe(4);
        (await rows.CountAsync("fund_movements", "sponsorship IS NOT NULL", Cancel)).ShouldBe(16);
        (await rows.CountAsync("sponsorships", "short_since IS NOT NULL", Cancel)).ShouldBeInRange(1, 2);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task A_hub_that_lost_its_seat_pays_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "100")).OrThrow();
        (await SponsorAsync(rows, "10")).OrThrow();
        rows.Time.Advance(TimeSpan.FromDays(31));
        var before = rows.Epoch;
        await rows.TakeSeatAsync(Cancel);
        await Should.ThrowAsync<FencedException>(() => new SponsorshipSweep(rows.Db, rows.Fence, rows.Time,
            NullLogger<SponsorshipSweep>.Instance).LookAsync(before, Cancel));
        (await PaidAsync(rows)).ShouldBe(10);
        (await LookAsync(rows)).ShouldBe(1);
    }

    [Fact]
    public async Task What_the_fund_does_not_hold_waits_and_an_alert_says_so()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "15")).OrThrow();
        (await SponsorAsync(rows, "10")).OrThrow();
        (await AlertsAsync(rows)).ShouldBeEmpty();
        rows.Time.Advance(TimeSpan.FromDays(31));
        (await LookAsync(rows)).ShouldBe(0);
        (await PaidAsync(rows)).ShouldBe(10, "nothing is paid in part");
        (await FindAsync(rows)).State.ShouldBe("waiting for the fund");
        (await AlertsAsync(rows)).Single().ShouldContain("1 sponsorship waits for it");
        (await GiveAsync(rows, "5")).OrThrow();
        (await LookAsync(rows)).ShouldBe(1);
        (await FindAsync(rows)).ShortSince.ShouldBeNull();
        (await AlertsAsync(rows)).ShouldBeEmpty();
        // One that is ended does not get what it waited for.
        rows.Time.Advance(TimeSpan.FromDays(31));
        (await LookAsync(rows)).ShouldBe(0);
        (await EndSponsorship.RunAsync(rows.Db, "ops", 1, "", rows.Time, Cancel)).Problem!.Field.ShouldBe("Reason");
        (await EndSponsorship.RunAsync(rows.Db, "ops", 1, "has work", rows.Time, Cancel)).OrThrow().ShouldBe(Kim);
        (await EndSponsorship.RunAsync(rows.Db, "ops", 1, "again", rows.Time, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.Conflict);
        (await AlertsAsync(rows)).ShouldBeEmpty();
        (await GiveAsync(rows, "50")).OrThrow();
        (await LookAsync(rows)).ShouldBe(0);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task It_ends_on_its_day_and_the_next_may_begin()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "100")).OrThrow();
        (await SponsorAsync(rows, "10", "2026-05-01")).OrThrow();
        rows.Time.Advance(TimeSpan.FromDays(365));
        (await LookAsync(rows)).ShouldBe(1, "in April, and not on 1 May");
        (await FindAsync(rows)).Ended.ShouldNotBeNull();
        (await PaidAsync(rows)).ShouldBe(20);
        (await SponsorAsync(rows, "5")).OrThrow().Id.ShouldBe(2);
        (await PaidAsync(rows)).ShouldBe(25);
    }

    [Fact]
    public async Task A_closed_account_is_sponsored_no_more_and_what_it_has_left_goes_back_to_the_fund()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "100")).OrThrow();
        (await SponsorAsync(rows, "10")).OrThrow();
        (await CloseAccount.RunAsync(rows.Db, rows.Settings, Kim, Kim,
            new CloseAccount.Input(Kim, "back", "IBAN 1", null), rows.Time, Cancel)).OrThrow();
        await rows.Db.ExecuteAsync("UPDATE account_closings SET due = @due",
            new { due = rows.Now.AddDays(40) }, Cancel);
        rows.Time.Advance(TimeSpan.FromDays(39));
        (await LookAsync(rows)).ShouldBe(0, "it waits while the account may be reopened");
        (await rows.CountAsync("payments", $"email = '{Kim}'", Cancel)).ShouldBe(1);
        rows.Time.Advance(TimeSpan.FromDays(1));
        await new ClosingSweep(rows.Db, rows.Fence, rows.Settings, rows.Time, NullLogger<ClosingSweep>.Instance)
            .LookAsync(rows.Epoch, Cancel);
        (await LookAsync(rows)).ShouldBe(0);
        (await FundAsync(rows)).ShouldBe(100);
        (await rows.CountAsync("sponsorships s", $"s.ended IS NULL OR s::text LIKE '%{Kim}%'", Cancel)).ShouldBe(0);
        (await FindAsync(rows)).ShouldSatisfyAllConditions(
            s => s.Email.ShouldBe("closed-1"), s => s.Reason.ShouldBe(""));
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task What_was_agreed_and_paid_stays_whoever_tries()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "100")).OrThrow();
        (await SponsorAsync(rows, "10")).OrThrow();
        foreach (var sql in (string[])["UPDATE sponsorships SET amount = 50", "UPDATE sponsorships SET months = 0",
            "UPDATE sponsorships SET months = 2", "UPDATE sponsorships SET starts = starts - interval '1 year'",
            "UPDATE sponsorships SET until = now() + interval '9 years'", "DELETE FROM sponsorships",
            "INSERT INTO sponsorships (email, amount, starts, actor, reason) "
                + "SELECT email, amount, starts, actor, reason FROM sponsorships",
            // Not due yet; the wrong month; another amount; somebody else's payment; none of the fund's.
            "WITH p AS (INSERT INTO payments (created, email, dollars, method) "
                + $"VALUES ('{Now:O}', '{Kim}', 10, 'solidarity') RETURNING id) "
                + "INSERT INTO fund_movements (payment, sponsorship, month) SELECT id, 1, 1 FROM p",
            "INSERT INTO fund_movements (payment, sponsorship, month) SELECT max(id), 1, 0 FROM payments",
            "INSERT INTO fund_movements (payment, sponsorship, month) SELECT 1, 1, 1",
            "INSERT INTO fund_movements (payment, sponsorship, month) VALUES (2, 1, NULL)"])
            (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel), sql))
                .SqlState.ShouldBeOneOf(PostgresErrorCodes.CheckViolation, PostgresErrorCodes.UniqueViolation);
        (await PaidAsync(rows)).ShouldBe(10);
    }

    [Fact]
    public async Task The_data_of_a_person_has_it()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "100")).OrThrow();
        (await SponsorAsync(rows, "10")).OrThrow();
        using var stream = new MemoryStream();
        await ExportAccount.RunAsync(rows.Db, Kim, stream, Cancel);
        var text = System.Text.Encoding.UTF8.GetString(stream.ToArray());
        text.ShouldContain("\"reason\": \"training\"");
        text.ShouldNotContain(VmRows.Email);
    }
}
