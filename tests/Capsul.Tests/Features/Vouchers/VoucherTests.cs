using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Features.Vouchers;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.Vouchers;

public sealed class VoucherTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<IReadOnlyList<string>> MakeAsync(
        VmRows rows, string count = "1", string? expires = null, string? email = null) =>
        (await CreateVouchers.RunAsync(rows.Db, rows.Settings, "ops",
            new CreateVouchers.Input("10", count, expires, email, "a note"), rows.Time, Cancel)).OrThrow();

    static Task<Outcome<decimal>> RedeemAsync(VmRows rows, string code, string email = VmRows.Email) =>
        RedeemVoucher.RunAsync(rows.Db, email, code, rows.Time, Cancel);

    static Task AddAccountAsync(VmRows rows, string email) =>
        rows.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@email)", new { email }, Cancel);

    [Theory]
    [InlineData("10", "", "", "", null), InlineData("7.50", "500", "2026-03-02", "Jo@Example.org", null)]
    [InlineData("0", "", "", "", "Amount"), InlineData("-1", "", "", "", "Amount")]
    [InlineData("10,5", "", "", "", "Amount"), InlineData("1.005", "", "", "", "Amount")]
    [InlineData("10001", "", "", "", "Amount"), InlineData("10", "501", "", "", "Count")]
    [InlineData("10", "0", "", "", "Count"), InlineData("10", "1", "2026-03-01", "", "Expires")]
    [InlineData("10", "1", "1.1.2027", "", "Expires"), InlineData("10", "1", "", "jo", "ForEmail")]
    public void What_an_operator_types_is_checked(
        string amount, string count, string expires, string email, string? field) =>
        CreateVouchers.Decide(new CreateVouchers.Input(amount, count, expires, email, null), 2, Now)
            .Problem?.Field.ShouldBe(field);

    [Fact]
    public void Codes_are_read_as_people_write_them()
    {
        var code = VoucherCode.Make();
        VoucherCode.Parse($" {VoucherCode.Shown(code).ToLowerInvariant()}\n").ShouldBe(code);
        VoucherCode.Parse(code[..^1]).ShouldBeNull();
        VoucherCode.Parse(code[..^1] + "O").ShouldBeNull();
        VoucherCode.Parse(new string('2', 2000)).ShouldBeNull();
        VoucherCode.Parse(null).ShouldBeNull();
    }

    [Fact]
    public async Task A_code_adds_to_the_balance_and_is_in_no_row()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var code = (await MakeAsync(rows)).Single();
        (await RedeemAsync(rows, code)).OrThrow().ShouldBe(10);
        (await RedeemAsync(rows, code)).Problem!.Message.ShouldContain("You have redeemed this voucher already");
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
        (await rows.Db.AskAsync<decimal>(
            "SELECT sum(e.amount) FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account "
                + "WHERE a.type = 'vouchers'", null, Cancel)).ShouldBe(10);
        var plain = VoucherCode.Parse(code)!;
        (await rows.CountAsync("vouchers v", $"v::text ILIKE '%{plain}%'", Cancel)).ShouldBe(0);
        (await rows.CountAsync("audit_lines l", $"l::text ILIKE '%{plain}%'", Cancel)).ShouldBe(0);
        // Nobody has paid for it, so there is no receipt.
        var payment = await rows.Db.AskAsync<int>("SELECT payment FROM vouchers", null, Cancel);
        (await IssueReceipt.RunAsync(rows.Db, VmRows.Email, payment, rows.Time, Cancel))
            .Problem!.Message.ShouldContain("nobody paid");
    }

    [Fact]
    public async Task Only_one_of_many_who_try_at_once_redeems_it()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var code = (await MakeAsync(rows)).Single();
        string[] emails = [.. Enumerable.Range(0, 16).Select(n => $"p{n}@example.org")];
        foreach (var email in emails) await AddAccountAsync(rows, email);
        var outcomes = await Task.WhenAll(emails.Concat(emails).Select(e => RedeemAsync(rows, code, e)));
        outcomes.Count(o => o.Problem is null).ShouldBe(1);
        (await rows.CountAsync("payments", "method = 'voucher'", Cancel)).ShouldBe(1);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Fact]
    public async Task Expired_withdrawn_and_somebody_elses_are_refused()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await AddAccountAsync(rows, "jo@example.org");
        var late = (await MakeAsync(rows, expires: "2026-03-02")).Single();
        var gone = (await MakeAsync(rows)).Single();
        var jos = (await MakeAsync(rows, email: "jo@example.org")).Single();
        (await WithdrawVoucher.RunAsync(rows.Db, "ops", 2, rows.Time, Cancel)).OrThrow();
        (await WithdrawVoucher.RunAsync(rows.Db, "ops", 2, rows.Time, Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.Conflict);
        rows.Time.Advance(TimeSpan.FromHours(12));
        (await RedeemAsync(rows, late)).Problem!.Message.ShouldContain("expired");
        (await RedeemAsync(rows, gone)).Problem!.Message.ShouldContain("withdrawn");
        (await RedeemAsync(rows, jos)).Problem!.ShouldBe((await RedeemAsync(rows, VoucherCode.Make())).Problem);
        (await RedeemAsync(rows, jos, "jo@example.org")).OrThrow();
        (await WithdrawVoucher.RunAsync(rows.Db, "ops", 3, rows.Time, Cancel)).Problem!.Message
            .ShouldContain("invalidate payment");
    }

    [Fact]
    public async Task Nobody_tries_codes_without_end()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var code = (await MakeAsync(rows)).Single();
        for (var n = 0; n < RedeemVoucher.MaxTries; n++)
            (await RedeemAsync(rows, VoucherCode.Make())).Problem!.Kind.ShouldBe(ProblemKind.Invalid);
        (await RedeemAsync(rows, code)).Problem!.Kind.ShouldBe(ProblemKind.RateLimited);
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await RedeemAsync(rows, code)).OrThrow();
        (await rows.CountAsync("voucher_tries", "TRUE", Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task What_a_voucher_was_it_stays_whoever_tries()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await MakeAsync(rows, "2");
        foreach (var sql in (string[])["UPDATE vouchers SET amount = 1000", "DELETE FROM vouchers",
            "UPDATE vouchers SET redeemed = now(), payment = 1 WHERE id = 1",
            "UPDATE vouchers SET redeemed = now()",
            "INSERT INTO vouchers (code_hash, hint, amount, created, actor, note, for_email) "
                + "SELECT code_hash, hint, amount, created, actor, note, for_email FROM vouchers"])
            (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel)))
                .SqlState.ShouldBeOneOf(PostgresErrorCodes.CheckViolation, PostgresErrorCodes.UniqueViolation);
        await rows.Db.ExecuteAsync("UPDATE vouchers SET withdrawn = now()", null, Cancel);
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "UPDATE vouchers SET withdrawn = NULL", null, Cancel))).ConstraintName.ShouldBe("vouchers_stay");
    }

    [Fact]
    public async Task An_operator_makes_one_and_a_person_redeems_it_on_the_page()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        (await ops.PostAsync("/operator/vouchers", Cancel, ("Amount", "x")).ReadAsync(Cancel)).Page
            .ShouldContain("href=\"#Amount\"");
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ada.ReadAsync("/balance", Cancel)).ShouldNotContain("Redeem a voucher");
        var page = (await ops.PostAsync("/operator/vouchers", Cancel, ("Amount", "12.50"), ("Note", "party"))
            .ReadAsync(Cancel)).Page;
        const string Start = "<code class=\"break\">";
        var code = page[(page.IndexOf(Start, StringComparison.Ordinal) + Start.Length)..][..23];
        (await ops.ReadAsync("/operator/vouchers", Cancel)).ShouldNotContain(code);
        (await ada.ReadAsync("/balance", Cancel)).ShouldContain("Redeem a voucher");
        (await ada.PostAsync("/balance/add", "/balance/add?handler=Redeem", Cancel, ("Code", "nothing"))
            .ReadAsync(Cancel)).Page.ShouldContain("There is no such voucher");
        (await ada.PostAsync("/balance/add", "/balance/add?handler=Redeem", Cancel, ("Code", code.ToLowerInvariant()))
            .ReadAsync(Cancel)).Page.ShouldContain("$12.50 is on your balance.");
        (await ops.ReadAsync("/operator/vouchers", Cancel)).ShouldContain($"by {Sample.Email}");
    }
}
