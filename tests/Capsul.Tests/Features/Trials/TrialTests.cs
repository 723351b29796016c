using Capsul.Foundation;
using Capsul.Hub.Features.AccountLimits;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Features.Sponsorships;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.Trials;

public sealed class TrialTests
{
    const string Jo = "jo@example.org";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly Settings On = Settings.Load(new Dictionary<string, string>
    {
        ["CAPSUL_DATA"] = "/tmp/capsul-none",
        ["CAPSUL_TRIAL_AMOUNT"] = "5",
        ["CAPSUL_TRIAL_DAYS"] = "14",
    });

    /// <summary>As at a first sign-in.</summary>
    static Task<Outcome<decimal>> SignUpAsync(VmRows rows, string email) =>
        rows.Db.DecideAsync<decimal>(async transaction =>
            await transaction.ExecuteAsync(AccountSql.SignUp, new { email, now = rows.Now, waits = false }, Cancel) > 0
                ? await GiveTrial.InAsync(transaction, On, email, rows.Now, Cancel) : 0, Cancel);

    static Task<int> LookAsync(VmRows rows) => new TrialSweep(rows.Db, rows.Fence, On, rows.Time,
        NullLogger<TrialSweep>.Instance).LookAsync(rows.Epoch, Cancel);

    static Task<BalanceRow> BalanceAsync(VmRows rows, string email = Jo) => rows.Db.AskAsync<BalanceRow>(
        BillingSql.Balance, new { email, now = rows.Now }, Cancel);

    static Task<decimal> SumAsync(VmRows rows) => rows.Db.AskAsync<decimal>(
        "SELECT coalesce(sum(e.amount), 0) FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account "
            + "WHERE a.type = 'trial_credit'", null, Cancel);

    static async Task AgreesAsync(VmRows rows) =>
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();

    /// <summary>It has a VM that has cost this much by now.</summary>
    static Task UseAsync(VmRows rows, decimal dollars) => rows.Db.ExecuteAsync(
        """
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, observed)
        VALUES ('capsul-jo00000000', @Jo, 'n', 'f1-xs', 'tiny', 'a', 'u', 'rack1', @now, 30.44, 1, 512, 1, 'stopped',
            'off', 1, 'off');
        INSERT INTO usage_spans (vm, email, span, dollars_per_month) VALUES ('capsul-jo00000000', @Jo,
            tstzrange(@now - make_interval(secs => @seconds), @now), 30.44)
        """, new { Jo, now = rows.Now, seconds = (double)(dollars * 86_400) }, Cancel);

    [Theory]
    [InlineData(5, 0, 5), InlineData(5, 1.234, 3.76), InlineData(5, 5, 0), InlineData(5, 9, 0), InlineData(0, 0, 0)]
    public void Only_what_was_not_used_lapses(double net, double used, double lapses) => LapseTrial.Decide(
        new LapseTrial.Facts((decimal)net, (decimal)used), 2).ShouldBe((decimal)lapses);

    [Theory]
    [InlineData("jo@example.org", true), InlineData("JO@Example.org", true), InlineData("jo+1@example.org", true)]
    [InlineData("jo+a+b@example.org", true), InlineData("+jo@example.org", false), InlineData("jo@example.com", false)]
    [InlineData("jo1@example.org", false)]
    public void An_address_with_another_ending_is_the_same(string email, bool same) =>
        GiveTrial.HashOf(email).SequenceEqual(GiveTrial.HashOf(Jo)).ShouldBe(same);

    [Fact]
    public async Task A_new_account_gets_it_once_and_what_is_not_used_lapses()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SignUpAsync(rows, Jo)).OrThrow().ShouldBe(5);
        (await SignUpAsync(rows, Jo)).OrThrow().ShouldBe(0);
        (await SignUpAsync(rows, "jo+again@example.org")).OrThrow().ShouldBe(0);
        (await SignUpAsync(rows, VmRows.Email)).OrThrow().ShouldBe(0, "it was there before");
        (await BalanceAsync(rows)).Balance.ShouldBe(5);
        await UseAsync(rows, 1.234m);
        (await LookAsync(rows)).ShouldBe(0);
        rows.Time.Advance(TimeSpan.FromDays(14));
        var rounds = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => LookAsync(rows)));
        rounds.Sum().ShouldBe(1, "whoever looks at the same time");
        (await BalanceAsync(rows)).Balance.ShouldBeInRange(0, 0.01m);
        (await SumAsync(rows)).ShouldBe(1.24m);
        (await LookAsync(rows)).ShouldBe(0);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Nothing_lapses_of_money_that_was_paid()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SignUpAsync(rows, Jo)).OrThrow();
        await rows.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method) VALUES (@Jo, 20, 'cash')", new { Jo }, Cancel);
        await UseAsync(rows, 7);
        rows.Time.Advance(TimeSpan.FromDays(14));
        (await LookAsync(rows)).ShouldBe(1);
        (await BalanceAsync(rows)).Balance.ShouldBe(18);
        (await rows.CountAsync("trials", "lapsed IS NOT NULL AND taken IS NULL", Cancel)).ShouldBe(1);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Of_many_who_sign_in_with_one_address_at_once_one_gets_it()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 24)
            .Select(n => SignUpAsync(rows, n % 2 == 0 ? Jo : $"jo+{n}@example.org")));
        outcomes.Sum(o => o.OrThrow()).ShouldBe(5);
        (await rows.CountAsync("payments", "method = 'trial'", Cancel)).ShouldBe(1);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task It_is_neither_given_nor_paid_out_nor_had_again_after_closing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SignUpAsync(rows, Jo)).OrThrow();
        (await GiveToFund.RunAsync(rows.Db, rows.Settings, Jo, Jo, new GiveToFund.Input("1", true), FundKey.Make(), "",
            rows.Time, Cancel)).Problem!.Message.ShouldContain("nothing that can be given");
        var payment = await rows.Db.AskAsync<int>("SELECT payment FROM trials", null, Cancel);
        (await IssueReceipt.RunAsync(rows.Db, Jo, payment, rows.Time, Cancel)).Problem.ShouldNotBeNull();
        await rows.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method) VALUES (@Jo, 10, 'cash')", new { Jo }, Cancel);
        await UseAsync(rows, 2);
        // Own money that was given away does not make it one's own.
        (await GiveToFund.RunAsync(rows.Db, rows.Settings, Jo, Jo, new GiveToFund.Input("4", true), FundKey.Make(), "",
            rows.Time, Cancel)).OrThrow();
        (await CloseAccount.RunAsync(rows.Db, rows.Settings, Jo, Jo,
            new CloseAccount.Input(Jo, "back", "IBAN 1", null), rows.Time, Cancel)).OrThrow();
        await rows.Db.ExecuteAsync(
            "UPDATE vms SET deleted = @now, wanted = 'gone', state = 'deleted' WHERE email = @Jo",
            new { Jo, now = rows.Now }, Cancel);
        rows.Time.Advance(TimeSpan.FromDays(rows.Settings.ClosingDays));
        var sweep = new ClosingSweep(
            rows.Db, rows.Fence, rows.Settings, rows.Time, NullLogger<ClosingSweep>.Instance);
        await sweep.LookAsync(rows.Epoch, Cancel);
        (await rows.Db.AskAsync<decimal>("SELECT sum(amount) FROM account_payouts", null, Cancel)).ShouldBe(6);
        (await SumAsync(rows)).ShouldBe(2);
        (await SignUpAsync(rows, Jo)).OrThrow().ShouldBe(0, "the same address");
        rows.Time.Advance(TimeSpan.FromDays(14));
        (await LookAsync(rows)).ShouldBe(1);
        (await SumAsync(rows)).ShouldBe(2, "it had lapsed when the account was closed");
        // When the names on the receipts go, so does what was kept of the address.
        rows.Time.Advance(TimeSpan.FromDays(366 * 12));
        await sweep.LookAsync(rows.Epoch, Cancel);
        (await rows.CountAsync("trials", "email_hash IS NOT NULL", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task It_does_not_count_as_paid_for_the_limits_of_new_accounts()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SignUpAsync(rows, Jo)).OrThrow();
        (await ChangeLimit.RunAsync(rows.Db, rows.Settings, "ops", new ChangeLimit.Input("", "5", "3"), Cancel))
            .OrThrow();
        Task<int> LimitAsync() => rows.Db.AskAsync<int>(
            "SELECT vms_by_age(@Jo, @now)", new { Jo, now = rows.Now }, Cancel);
        (await LimitAsync()).ShouldBe(0);
        await rows.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method) VALUES (@Jo, 5, 'cash')", new { Jo }, Cancel);
        (await LimitAsync()).ShouldBe(3);
    }

    [Fact]
    public async Task The_database_gives_it_once_whoever_tries()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SignUpAsync(rows, Jo)).OrThrow();
        foreach (var sql in (string[])[
            $"INSERT INTO payments (email, dollars, method) VALUES ('{Jo}', 5, 'trial')", "DELETE FROM trials",
            "UPDATE trials SET lapses = lapses + interval '1 year'", "UPDATE trials SET payment = 1",
            "UPDATE trials SET email_hash = sha256('x')", "UPDATE trials SET lapsed = given",
            "UPDATE trials SET lapsed = lapses, taken = payment",
            "INSERT INTO trials (email_hash, given, lapses) SELECT email_hash, given, lapses FROM trials"])
            (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel), sql))
                .SqlState.ShouldBeOneOf(PostgresErrorCodes.CheckViolation, PostgresErrorCodes.UniqueViolation);
        // Taken back by an operator: nothing is left to lapse, and it is not given again.
        await rows.Db.ExecuteAsync(
            "UPDATE payments SET invalidated = TRUE WHERE method = 'trial'", null, Cancel);
        rows.Time.Advance(TimeSpan.FromDays(14));
        (await LookAsync(rows)).ShouldBe(1);
        (await BalanceAsync(rows)).Balance.ShouldBe(0);
        (await SumAsync(rows)).ShouldBe(0);
        await AgreesAsync(rows);
    }

    [Fact]
    public async Task Whoever_signs_in_for_the_first_time_is_told()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"),
            ("CAPSUL_TRIAL_AMOUNT", "7.50"), ("CAPSUL_TRIAL_DAYS", "10"));
        await Sample.FillAsync(hub, Cancel);
        using var jo = hub.Visit();
        (await jo.PostAsync("/sign-in", Cancel, ("Email", Jo)).ReadAsync(Cancel)).Status.ShouldBe(200);
        (await jo.ReadAsync("/sign-in", Cancel)).ShouldContain("get $7.50 of trial credit");
        (await jo.ReadAsync(await hub.NewestLinkAsync(Jo, Cancel), Cancel))
            .ShouldContain("You got $7.50 of trial credit, valid for 10 days.");
        (await jo.ReadAsync("/balance", Cancel)).ShouldContain("$7.50 of your balance is trial credit");
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ada.ReadAsync("/balance", Cancel)).ShouldNotContain("trial credit");
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        (await ops.ReadAsync("/operator/new-accounts", Cancel))
            .ShouldContain("gets $7.50 once, valid for\n      10 days.");
    }

    [Fact]
    public async Task One_that_waits_gets_it_when_it_is_approved_and_by_default_nobody_does()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"),
            ("CAPSUL_TRIAL_AMOUNT", "5"), ("CAPSUL_APPROVE_ACCOUNTS", "on"));
        using var jo = await hub.SignInAsync(Jo, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        Task<long> CountAsync() => hub.Db.AskAsync<long>(
            "SELECT count(*) FROM payments WHERE email = @Jo AND method = 'trial'", new { Jo }, Cancel);
        (await CountAsync()).ShouldBe(0);
        const string Page = "/operator/new-accounts";
        await ops.PostAsync(Page, Page + "?handler=Approve", Cancel, ("Email", Jo)).ReadAsync(Cancel);
        (await CountAsync()).ShouldBe(1);
        Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = "/tmp/capsul-none" }).TrialAmount.ShouldBe(0);
        foreach (var wrong in (string[])["-1", "1.005", "x", "10001"])
            Should.Throw<ProblemException>(() => Settings.Load(new Dictionary<string, string>
            {
                ["CAPSUL_DATA"] = "/tmp/capsul-none",
                ["CAPSUL_TRIAL_AMOUNT"] = wrong,
            }), wrong);
    }
}
