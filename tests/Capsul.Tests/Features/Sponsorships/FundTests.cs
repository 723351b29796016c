using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Features.Sponsorships;
using Capsul.Hub.Features.Vouchers;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.Sponsorships;

/// <summary>Money to the fund, and from it, once. The account of <see cref="VmRows"/> has paid 100.</summary>
public sealed class FundTests
{
    internal const string Kim = "kim@example.org";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static decimal D(string text) => decimal.Parse(text, CultureInfo.InvariantCulture);

    internal static Task AddAccountAsync(VmRows rows, string email) =>
        rows.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@email)", new { email }, Cancel);

    internal static Task<Outcome<int>> GiveAsync(
        VmRows rows, string amount, string? key = null, string email = VmRows.Email, bool confirmed = true) =>
        GiveToFund.RunAsync(rows.Db, rows.Settings, email, email, new GiveToFund.Input(amount, confirmed),
            key ?? FundKey.Make(), "", rows.Time, Cancel);

    internal static Task<Outcome<int>> GrantAsync(
        VmRows rows, string amount, string? key = null, string email = Kim, string? reason = "lost the job") =>
        GrantMoney.RunAsync(rows.Db, rows.Settings, "ops", new GrantMoney.Input(email, amount, reason),
            key ?? FundKey.Make(), rows.Time, Cancel);

    internal static Task<decimal> FundAsync(VmRows rows) =>
        rows.Db.AskAsync<decimal>(FundSql.Balance, null, Cancel);

    internal static Task<decimal> PaidAsync(VmRows rows, string email = Kim) => rows.Db.AskAsync<decimal>(
        "SELECT paid FROM account_totals WHERE email = @email", new { email }, Cancel);

    /// <summary>What the fund holds is what the ledger says, and everything else agrees.</summary>
    internal static async Task AgreesAsync(VmRows rows)
    {
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
        (await FundAsync(rows)).ShouldBe(await rows.Db.AskAsync<decimal>(
            "SELECT coalesce(-sum(e.amount), 0) FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account "
                + "WHERE a.type = 'solidarity_fund'", null, Cancel));
    }

    [Theory]
    // Paid, used, of which came by vouchers and the fund.
    [InlineData("100", "0", "0", "100"), InlineData("100", "33.331", "0", "66.66"), InlineData("5", "7", "0", "0")]
    [InlineData("30", "0", "20", "10"), InlineData("30", "5", "20", "10"), InlineData("30", "25", "20", "5")]
    [InlineData("10", "0", "10", "0"), InlineData("10", "0", "20", "0"), InlineData("0", "0", "0", "0")]
    public void What_can_be_given_is_own_and_not_used(string paid, string used, string granted, string most) =>
        GiveToFund.Most(new OwnMoneyRow(D(paid), D(used), D(granted)), 2).ShouldBe(D(most));

    [Theory]
    [InlineData("10", true, null), InlineData("66.66", true, null), InlineData("66.67", true, "Amount")]
    [InlineData("0", true, "Amount"), InlineData("-1", true, "Amount"), InlineData("1,5", true, "Amount")]
    [InlineData("1.005", true, "Amount"), InlineData("", true, "Amount"), InlineData("10", false, "Confirmed")]
    public void What_a_person_types_is_checked(string amount, bool confirmed, string? field) => GiveToFund.Decide(
        new GiveToFund.Facts(Kim, Exists: true, IsClosing: false, new OwnMoneyRow(100, 33.331m, 0)),
        new GiveToFund.Input(amount, confirmed), 2).Problem?.Field.ShouldBe(field);

    [Theory]
    [InlineData("10", "why", true, false, null), InlineData("10.01", "why", true, false, "Amount")]
    [InlineData("10", "", true, false, "Reason"), InlineData("x", "why", true, false, "Amount")]
    [InlineData("10", "why", false, false, "Email"), InlineData("10", "why", true, true, "Email")]
    public void What_an_operator_types_is_checked(
        string amount, string reason, bool exists, bool isClosing, string? field) => GrantMoney.Decide(
            new GrantMoney.Facts(Kim, exists, isClosing, Fund: 10), new GrantMoney.Input(Kim, amount, reason), 2)
            .Problem?.Field.ShouldBe(field);

    [Fact]
    public async Task What_one_gives_another_gets_and_nobody_is_told_who()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GrantAsync(rows, "1")).Problem!.Message.ShouldContain("The fund holds $0.00");
        (await GiveAsync(rows, "40")).OrThrow();
        (await GiveAsync(rows, "60.01")).Problem!.Message.ShouldContain("$60.00");
        (await GrantAsync(rows, "40.01")).Problem!.Field.ShouldBe("Amount");
        var grant = (await GrantAsync(rows, "15")).OrThrow();
        (await FundAsync(rows)).ShouldBe(25);
        (await PaidAsync(rows)).ShouldBe(15);
        (await PaidAsync(rows, VmRows.Email)).ShouldBe(60);
        (await rows.CountAsync("payments p", $"p.email = '{Kim}' AND p::text LIKE '%{VmRows.Email}%'", Cancel))
            .ShouldBe(0);
        // What was got can be used, and neither given nor has a receipt.
        (await GiveAsync(rows, "1", email: Kim)).Problem!.Message.ShouldContain("nothing that can be given");
        (await IssueReceipt.RunAsync(rows.Db, Kim, grant, rows.Time, Cancel)).Problem.ShouldNotBeNull();
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task A_form_that_is_sent_twice_moves_money_once()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        var (give, grant) = (FundKey.Make(), FundKey.Make());
        var given = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => GiveAsync(rows, "40", give)));
        given.Select(g => g.OrThrow()).Distinct().Count().ShouldBe(1);
        var granted = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => GrantAsync(rows, "15", grant)));
        granted.Select(g => g.OrThrow()).Distinct().Count().ShouldBe(1);
        (await FundAsync(rows)).ShouldBe(25);
        (await GrantAsync(rows, "16", grant)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await GiveAsync(rows, "40", grant)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await GiveAsync(rows, "40", "short")).Problem!.Kind.ShouldBe(ProblemKind.Invalid);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Many_grants_at_once_never_spend_more_than_there_is()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await GiveAsync(rows, "50")).OrThrow();
        string[] emails = [.. Enumerable.Range(0, 24).Select(n => $"p{n}@example.org")];
        foreach (var email in emails) await AddAccountAsync(rows, email);
        var outcomes = await Task.WhenAll(
            emails.Concat(emails).Select(email => GrantAsync(rows, "7", email: email)));
        outcomes.Count(o => o.Problem is null).ShouldBe(7);
        (await FundAsync(rows)).ShouldBe(1);
        await AgreesAsync(rows);
    }

    /// <summary>Nobody asks what the fund holds: the database itself refuses.</summary>
    [Fact]
    public async Task The_database_lets_nobody_take_what_is_not_there()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var given = (await GiveAsync(rows, "50")).OrThrow();
        string[] emails = [.. Enumerable.Range(0, 16).Select(n => $"p{n}@example.org")];
        foreach (var email in emails) await AddAccountAsync(rows, email);
        var taken = await Task.WhenAll(emails.Concat(emails).Select(async email =>
        {
            try
            {
                return await rows.Db.ExecuteAsync("INSERT INTO payments (email, dollars, method) "
                    + "VALUES (@email, 7, 'solidarity')", new { email }, Cancel);
            }
            catch (PostgresException error)
            {
                error.ConstraintName.ShouldBe("solidarity_fund_not_below_zero");
                return 0;
            }
        }));
        taken.Sum().ShouldBe(7);
        foreach (var sql in (string[])[$"UPDATE payments SET invalidated = TRUE WHERE id = {given}",
            "UPDATE solidarity_fund SET balance = 1000", "DELETE FROM solidarity_fund", "TRUNCATE solidarity_fund",
            "INSERT INTO solidarity_fund (balance) VALUES (9)", "DELETE FROM fund_movements",
            "UPDATE fund_movements SET key = repeat('b', 32)",
            "INSERT INTO fund_movements (payment, key) VALUES (1, repeat('a', 32))"])
            (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel)))
                .SqlState.ShouldBeOneOf(PostgresErrorCodes.CheckViolation, PostgresErrorCodes.UniqueViolation);
        // An adjustment by hand adds to it, too, and a grant that was a mistake goes back.
        await rows.Db.ExecuteAsync(
            """
            WITH added AS (INSERT INTO ledger_transactions (at, kind, entries, note)
                VALUES (now(), 'adjustment', 2, 'a gift in cash') RETURNING id)
            INSERT INTO ledger_entries (transaction, line, entries, account, amount)
            SELECT id, 1, 2, 2, 30 FROM added UNION ALL SELECT id, 2, 2, 3, -30 FROM added;
            UPDATE payments SET invalidated = TRUE
            WHERE id = (SELECT max(id) FROM payments WHERE method = 'solidarity' AND dollars > 0)
            """, null, Cancel);
        (await FundAsync(rows)).ShouldBe(38);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Giving_and_granting_at_once_ends_with_the_right_sums()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await GiveAsync(rows, "10")).OrThrow();
        var moves = Enumerable.Range(0, 12).SelectMany<int, Task<Outcome<int>>>(
            _ => [GiveAsync(rows, "5"), GrantAsync(rows, "5"), GrantAsync(rows, "2", email: VmRows.Email)]);
        var outcomes = await Task.WhenAll(moves);
        outcomes.Count(o => o.Problem is { Kind: not ProblemKind.Invalid }).ShouldBe(0);
        (await FundAsync(rows)).ShouldBeGreaterThanOrEqualTo(0);
        (await FundAsync(rows) + await PaidAsync(rows) + await PaidAsync(rows, VmRows.Email)).ShouldBe(100);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Nothing_that_is_owed_or_came_by_a_voucher_is_given()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        var code = (await CreateVouchers.RunAsync(rows.Db, rows.Settings, "ops",
            new CreateVouchers.Input("30", "1", null, null, null), rows.Time, Cancel)).OrThrow().Single();
        (await RedeemVoucher.RunAsync(rows.Db, Kim, code, rows.Time, Cancel)).OrThrow();
        (await GiveAsync(rows, "1", email: Kim)).Problem!.Field.ShouldBe("Amount");
        await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromDays(30 * 12));
        (await GiveAsync(rows, "90")).Problem!.Message.ShouldContain("At most $");
        rows.Time.Advance(TimeSpan.FromDays(3660));
        (await GiveAsync(rows, "0.01")).Problem!.Message.ShouldContain("nothing that can be given");
        (await GiveAsync(rows, "1", email: "nobody@example.org")).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        (await FundAsync(rows)).ShouldBe(0);
    }

    [Fact]
    public async Task What_a_closed_account_leaves_to_the_fund_helps_another_one()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, Kim);
        (await CloseAccount.RunAsync(rows.Db, rows.Settings, VmRows.Email, VmRows.Email,
            new CloseAccount.Input(VmRows.Email, "fund", "", null), rows.Time, Cancel)).OrThrow();
        (await GiveAsync(rows, "1")).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        rows.Time.Advance(TimeSpan.FromDays(rows.Settings.ClosingDays));
        (await new ClosingSweep(rows.Db, rows.Fence, rows.Settings, rows.Time, NullLogger<ClosingSweep>.Instance)
            .LookAsync(rows.Epoch, Cancel)).ShouldBeGreaterThan(0);
        (await FundAsync(rows)).ShouldBe(100);
        (await GrantAsync(rows, "100")).OrThrow();
        (await GrantAsync(rows, "1", email: "closed-1")).Problem!.Message.ShouldContain("is closed");
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task It_is_given_and_granted_on_the_pages()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        await hub.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@Kim)", new { Kim }, Cancel);
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        using var kim = await hub.SignInAsync(Kim, Cancel);
        (await ada.ReadAsync("/balance", Cancel)).ShouldContain("Give to the solidarity fund");
        (await kim.ReadAsync("/balance/give", Cancel)).ShouldContain("nothing to give right now");
        (await ada.PostAsync("/balance/give", Cancel, ("Amount", "20"), ("Key", FundKey.Make()))
            .ReadAsync(Cancel)).Page.ShouldContain("href=\"#Confirmed\"");
        (await ada.PostAsync("/balance/give", Cancel, ("Amount", "20"), ("Confirmed", "true"),
            ("Key", FundKey.Make())).ReadAsync(Cancel)).Page.ShouldContain("Thank you");
        (await ops.PostAsync("/operator/fund", Cancel, ("Email", Kim), ("Amount", "5"), ("Reason", "x"))
            .ReadAsync(Cancel)).Page.ShouldContain("href=\"#Often\"");
        (await ops.PostAsync("/operator/fund", Cancel, ("Email", Kim), ("Amount", "5"), ("Often", "monthly"),
            ("Reason", "training"), ("Key", FundKey.Make())).ReadAsync(Cancel)).Page
            .ShouldContain("the first month has been credited");
        var balance = await kim.ReadAsync("/balance", Cancel);
        balance.ShouldContain("You get <strong>$5.00 a month</strong> from the solidarity fund.");
        balance.ShouldContain("1 Apr 2026");
        balance.ShouldNotContain(Sample.Email);
        var page = await ops.ReadAsync("/operator/fund", Cancel);
        page.ShouldContain("$15.00");
        page.ShouldContain($"given by {Sample.Email}");
        (await ops.PostAsync("/operator/fund", "/operator/fund?handler=End", Cancel, ("Id", "1"))
            .ReadAsync(Cancel)).Page.ShouldContain("href=\"#Why-1\"");
        (await ops.PostAsync("/operator/fund", "/operator/fund?handler=End", Cancel, ("Id", "1"), ("Reason", "done"))
            .ReadAsync(Cancel)).Page.ShouldContain("has ended.");
        (await kim.ReadAsync("/balance", Cancel)).ShouldNotContain("a month</strong> from the solidarity fund");
    }
}
