using Capsul.Foundation;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Tests.Features.Payments;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.Receipts;

public sealed class ReceiptTests
{
    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static readonly SetSeller.Input Seller =
        new("Meadow Co-op", "1 Lane\n12345 Town", "DE 123", "VAT", "19", null);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("", "a", "", "", "", "Name"), InlineData("a", " \n ", "", "", "", "Address")]
    [InlineData("a", "a", "", "", "19", "TaxLabel"), InlineData("a", "a", "VAT", "19,5", "", "TaxPercent")]
    [InlineData("a", "a", "VAT", "101", "", "TaxPercent"), InlineData("a", "a", "VAT", "1.005", "", "TaxPercent")]
    [InlineData("a", "a", "VAT", "19", "1.2.2027", "From"), InlineData("a", "a", "VAT", "19", "2026-02-28", "From")]
    [InlineData("a", "a", "VAT", "19", "2026-03-02", null), InlineData("a", "a", "", "", "", null)]
    public void Who_sells_is_checked(
        string name, string address, string label, string percent, string from, string? field)
    {
        if (field == "TaxLabel") (percent, from) = (from, "");
        SetSeller.Decide(new SetSeller.Input(name, address, "", label, percent, from), Now.AddDays(-1), Now)
            .Problem?.Field.ShouldBe(field);
    }

    [Fact]
    public async Task A_receipt_is_made_once_and_a_payment_that_counts_no_longer_gets_a_credit_note()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await IssueAsync(rows, 1)).Problem!.Message.ShouldContain("No seller is entered for the day of this payment");
        (await SetSeller.RunAsync(rows.Db, "ops", Seller, rows.Time, Cancel)).OrThrow().IsFirst.ShouldBeTrue();
        (await IssueAsync(rows, 1)).OrThrow().ShouldBe(1);
        (await IssueAsync(rows, 1)).OrThrow().ShouldBe(0);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        (await SetSeller.RunAsync(rows.Db, "ops", Seller with { TaxPercent = "21", From = "2026-03-05" }, rows.Time,
            Cancel)).OrThrow();
        rows.Time.Advance(TimeSpan.FromDays(10));
        (await IssueAsync(rows, 1)).OrThrow().ShouldBe(1);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE", null, Cancel);
        (await IssueAsync(rows, 1)).OrThrow().ShouldBe(1);
        (await rows.Db.ListAsync<ReceiptRow>(ReceiptSql.OfPayment, new { id = 1 }, Cancel))
            .Select(r => (r.Number, r.Corrects, r.Gross, r.Net, r.Tax, r.TaxPercent)).ShouldBe([
                (1, null, 100m, 84.03m, 15.97m, 19m), (2, (int?)1, -100m, -84.03m, -15.97m, 19m),
                (3, null, 100m, 84.03m, 15.97m, 19m)]);
    }

    [Fact]
    public async Task What_follows_from_a_receipt_is_issued_by_itself_in_its_name()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetSeller.RunAsync(rows.Db, "ops", Seller, rows.Time, Cancel)).OrThrow();
        (await SetBillingAddress.RunAsync(rows.Db, VmRows.Email, "Ada", "London", "GB 1", Cancel)).OrThrow();
        (await RecordCash.RunAsync(rows.Db, "ops", VmRows.Email, 7, "", rows.Time, Cancel)).OrThrow();
        (await IssueAsync(rows, 1)).OrThrow();
        (await LookAsync(rows)).ShouldBe(0);
        (await SetBillingAddress.RunAsync(rows.Db, VmRows.Email, "Eve", "Paris", "", Cancel)).OrThrow();
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        (await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => LookAsync(rows)))).Sum().ShouldBe(1);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE", null, Cancel);
        (await LookAsync(rows)).ShouldBe(1);
        (await LookAsync(rows)).ShouldBe(0);
        (await rows.Db.ListAsync<ReceiptRow>(ReceiptSql.List, new { after = 0, limit = 9 }, Cancel))
            .Select(r => (r.Payment, r.Corrects, r.Gross, r.Name, r.Address, r.TaxNumber)).ShouldBe([
                (1, null, 100m, "Ada", "London", "GB 1"), (1, (int?)1, -100m, "Ada", "London", "GB 1"),
                (1, null, 100m, "Ada", "London", "GB 1")]);
    }

    /// <summary>Nobody knows any more whose it was, and the tax is not due.</summary>
    [Fact]
    public async Task A_part_that_goes_back_after_the_account_was_closed_has_its_papers()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetSeller.RunAsync(rows.Db, "ops", Seller, rows.Time, Cancel)).OrThrow();
        (await SetBillingAddress.RunAsync(rows.Db, VmRows.Email, "Ada", "London", "", Cancel)).OrThrow();
        (await IssueAsync(rows, 1)).OrThrow();
        (await SetSeller.RunAsync(rows.Db, "ops", Seller with { TaxPercent = "21", From = "2026-03-02" }, rows.Time,
            Cancel)).OrThrow();
        (await CloseAccount.RunAsync(rows.Db, rows.Settings, VmRows.Email, VmRows.Email, new CloseAccount.Input(
            VmRows.Email, "back", "", null), rows.Time, Cancel)).OrThrow();
        rows.Time.Advance(TimeSpan.FromDays(3));
        await new ClosingSweep(rows.Db, rows.Fence, rows.Settings, rows.Time, NullLogger<ClosingSweep>.Instance)
            .LookAsync(rows.Epoch, Cancel);
        await rows.Db.InTransactionAsync(transaction => ReturnPayment.InAsync(
            transaction, 1, 30, "paid by hand", "ops", rows.Now, Cancel), Cancel);
        (await LookAsync(rows)).ShouldBe(2);
        (await LookAsync(rows)).ShouldBe(0);
        var all = await rows.Db.ListAsync<ReceiptRow>(ReceiptSql.List, new { after = 0, limit = 9 }, Cancel);
        all.Select(r => (r.Gross, r.TaxPercent, r.Name)).ShouldBe(
            [(100m, 19m, "Ada"), (-100m, 19m, "Ada"), (70m, 19m, "Ada")]);
        all.ShouldAllBe(r => r.Email == "closed-1");
        (await IssueReceipt.ByOperatorAsync(rows.Db, "cli", 1, rows.Time, Cancel)).OrThrow().ShouldBe(0);
        (await IssueReceipt.ByOperatorAsync(rows.Db, "cli", 99, rows.Time, Cancel))
            .Problem.ShouldBe(IssueReceipt.NotFound);
    }

    [Fact]
    public async Task A_refund_in_part_and_a_dispute_have_their_papers()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync("30");
        (await SetSeller.RunAsync(world.Db, "ops", Seller, world.Hub.Time, Cancel)).OrThrow();
        (await IssueReceipt.ByOperatorAsync(world.Db, "cli", 1, world.Hub.Time, Cancel)).OrThrow();
        (await RefundPayment.RunAsync(
            world.Db, world.Settings, "ops", id, "10", "asked", world.Hub.Time, Cancel)).OrThrow();
        (await LookAsync(world)).ShouldBe(2);
        await world.SettleAsync();
        world.Stripe.Books.Dispute(session.Id, "lost");
        await world.SettleAsync();
        (await LookAsync(world)).ShouldBe(1);
        (await LookAsync(world)).ShouldBe(0);
        var all = await world.Db.ListAsync<ReceiptRow>(ReceiptSql.List, new { after = 0, limit = 9 }, Cancel);
        all.Select(r => r.Gross).ShouldBe([30, -30, 20, -20]);
        all.Sum(r => r.Tax).ShouldBe(0);
    }

    static Task<int> LookAsync(VmRows rows) => new ReceiptSweep(
        rows.Db, rows.Fence, rows.Time, NullLogger<ReceiptSweep>.Instance).LookAsync(rows.Epoch, Cancel);

    static Task<int> LookAsync(PaymentWorld world) => new ReceiptSweep(world.Db, new Fence(world.Db, new Listener(
        world.Db, world.Hub.Time, NullLogger<Listener>.Instance)), world.Hub.Time,
        NullLogger<ReceiptSweep>.Instance).LookAsync(world.Epoch, Cancel);

    /// <summary>Many at once, some of which are killed: the numbers are 1, 2, 3 and so on.</summary>
    [Fact]
    public async Task Numbers_have_no_gaps_when_many_are_made_at_once()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetSeller.RunAsync(rows.Db, "ops", Seller, rows.Time, Cancel)).OrThrow();
        await rows.Db.ExecuteAsync(
            """
            INSERT INTO payments (email, dollars, method) SELECT @email, n, 'cash' FROM generate_series(1, 40) AS n;
            CREATE SEQUENCE kills;
            CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('kills') % 3 = 0 THEN RAISE EXCEPTION 'killed'; END IF;
                RETURN NULL;
            END $$;
            CREATE TRIGGER kill AFTER INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION kill();
            """, new { email = VmRows.Email }, Cancel);
        var killed = 0;
        await Parallel.ForEachAsync(Enumerable.Range(1, 80), new ParallelOptions
        {
            MaxDegreeOfParallelism = 8,
            CancellationToken = Cancel,
        }, async (n, _) =>
        {
            try
            {
                (await IssueAsync(rows, 1 + n % 41)).OrThrow();
            }
            catch (PostgresException error) when (error.MessageText == "killed")
            {
                Interlocked.Increment(ref killed);
            }
        });
        killed.ShouldBeGreaterThan(0);
        var numbers = await rows.Db.ListAsync<int>("SELECT number FROM receipts ORDER BY number", null, Cancel);
        numbers.Count.ShouldBeGreaterThan(20);
        numbers.ShouldBe(Enumerable.Range(1, numbers.Count));
        (await rows.CountAsync("receipts r", "EXISTS (SELECT FROM receipts o WHERE o.transaction = r.transaction "
            + "AND o.number <> r.number)", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task After_a_restore_numbers_go_on_where_an_operator_says_and_never_backwards()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetSeller.RunAsync(rows.Db, "ops", Seller, rows.Time, Cancel)).OrThrow();
        (await IssueAsync(rows, 1)).OrThrow();
        foreach (var next in (int[])[-5, 0, 1, 2, int.MaxValue])
            (await ContinueAsync(rows, next)).Problem.ShouldNotBeNull();
        (await ContinueAsync(rows, 46, " ")).Problem!.Field.ShouldBe("Reason");
        var gap = (await ContinueAsync(rows, 46)).OrThrow();
        (gap.First, gap.Last, gap.Reason).ShouldBe((2, 45, "restored"));
        (await ContinueAsync(rows, 46)).Problem.ShouldNotBeNull();
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        (await LookAsync(rows)).ShouldBe(1);
        (await ContinueAsync(rows, 50)).OrThrow().First.ShouldBe(47);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE", null, Cancel);
        (await LookAsync(rows)).ShouldBe(1);
        (await rows.Db.ListAsync<int>("SELECT number FROM receipts ORDER BY number", null, Cancel))
            .ShouldBe([1, 46, 50]);
        (await rows.CountAsync("audit_lines", "action = 'continue_receipts' AND detail LIKE '%restored'", Cancel))
            .ShouldBe(2);
    }

    static Task<Outcome<ReceiptGapRow>> ContinueAsync(VmRows rows, int next, string reason = "restored") =>
        ContinueNumbers.RunAsync(rows.Db, "cli", next, reason, rows.Time, Cancel);

    [Theory]
    [InlineData("UPDATE receipt_gaps SET last = 60", "receipts_stay")]
    [InlineData("DELETE FROM receipt_gaps", "receipts_stay")]
    [InlineData("TRUNCATE receipt_gaps", "receipts_stay")]
    [InlineData("INSERT INTO receipt_gaps VALUES (47, 48, 'x', 'x', now())", "receipt_gaps_follow")]
    [InlineData("INSERT INTO receipt_gaps VALUES (2, 3, 'x', 'x', now())", "receipt_gaps_follow")]
    [InlineData("INSERT INTO receipt_gaps VALUES (46, 45, 'x', 'x', now())", "receipt_gaps_goes_on")]
    [InlineData("INSERT INTO receipt_gaps VALUES (46, 46, '', 'x', now())", "receipt_gaps_reason_check")]
    public async Task A_gap_stays_and_leaves_nothing_out(string sql, string constraint)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await ContinueAsync(rows, 46)).OrThrow();
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel)))
            .ConstraintName.ShouldBe(constraint);
    }

    [Fact]
    public async Task What_was_issued_stays_whoever_tries()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await SetSeller.RunAsync(rows.Db, "ops", Seller, rows.Time, Cancel)).OrThrow();
        (await IssueAsync(rows, 1)).OrThrow();
        foreach (var sql in (string[])["UPDATE receipts SET name = 'x'", "DELETE FROM receipts", "TRUNCATE receipts",
            "UPDATE sellers SET tax_percent = 7", "DELETE FROM sellers", "DELETE FROM receipt_numbers",
            "UPDATE receipt_numbers SET last = 7; INSERT INTO receipts SELECT 0, transaction, issued, seller, NULL, "
                + "name, address, tax_number, gross, net, tax FROM receipts"])
            (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel)))
                .SqlState.ShouldBe(PostgresErrorCodes.CheckViolation, sql);
        // Whatever number is asked for, the next one is given; and a transaction has one receipt.
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "INSERT INTO receipts SELECT 99, transaction, issued, seller, NULL, name, address, tax_number, gross, net, "
                + "tax FROM receipts", null, Cancel))).ConstraintName.ShouldBe("receipts_transaction_once");
    }

    [Fact]
    public async Task A_person_makes_a_receipt_with_their_address_and_prints_it()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_OPERATOR_EMAIL", "ops@example.org"));
        await Sample.FillAsync(hub, Cancel);
        using var ops = await hub.SignInAsync("ops@example.org", Cancel);
        (await ops.PostAsync("/operator/receipts", Cancel, ("Name", "Meadow Co-op"), ("Address", "1 Lane\r\nTown"),
            ("TaxLabel", "VAT"), ("TaxPercent", "25")).ReadAsync(Cancel)).Page.ShouldContain("All receipts say that.");
        using var ada = await hub.SignInAsync(Sample.Email, Cancel);
        (await ada.PostAsync("/account", "/account?handler=Billing", Cancel, ("Name", "Ada <Lovelace>"),
            ("Address", "Analytical Engine\nLondon"), ("TaxNumber", "GB 1")).ReadAsync(Cancel))
            .Page.ShouldContain("Receipts that you make from now on are addressed to that.");
        var page = (await ada.PostAsync("/balance/receipts/1", Cancel).ReadAsync(Cancel)).Page;
        page.ShouldContain("Receipt 1");
        foreach (var part in (string[])["Meadow Co-op", "Ada <Lovelace>", "London", "Tax number GB 1", "$20.00",
            "VAT, 25 % of", "$5.00", "$25.00"])
            page.ShouldContain(part);
        var balance = await ada.ReadAsync("/balance", Cancel);
        balance.ShouldContain("/balance/receipts/1");
        (await ada.PostAsync("/balance/receipts/2", Cancel).ReadAsync(Cancel)).Page.ShouldContain("never counted");
        using var eve = await hub.SignInAsync("eve@example.org", Cancel);
        (await eve.GetAsync("/balance/receipts/1", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        (await eve.PostAsync("/keys", "/balance/receipts/3", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        await using var csv = new StringWriter();
        await ExportReceipts.RunAsync(hub.Db, csv, Cancel);
        csv.ToString().ShouldContain("1,,2026-03-01,2026-03-01,1,cash,\"ada.lovelace@example.org\",\"Ada <Lovelace>\","
            + "\"GB 1\",\"Meadow Co-op\",\"VAT\",25,20.00,5.00,25.00\r\n");
    }

    static Task<Outcome<int>> IssueAsync(VmRows rows, int payment) =>
        IssueReceipt.RunAsync(rows.Db, VmRows.Email, payment, rows.Time, Cancel);
}
