using System.Globalization;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Receipts;
using Capsul.Postgres;
using Capsul.Tests.Features.Ledger;
using Capsul.Tests.Features.Payments;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.Receipts;

/// <summary>The tax in payments is in the ledger, whoever writes, and is what receipts and statements show.</summary>
public sealed class PaymentTaxTests
{
    static readonly SetSeller.Input Seller = new("Meadow Co-op", "1 Lane", "DE 123", "VAT", "19", null);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Task SellAsync(VmRows rows, string percent, string? from = null) => SetAsync(rows, Seller with
    {
        TaxPercent = percent,
        From = from,
    });

    static async Task SetAsync(VmRows rows, SetSeller.Input input) =>
        (await SetSeller.RunAsync(rows.Db, "ops", input, rows.Time, Cancel)).OrThrow();

    static Task PayAsync(VmRows rows, decimal dollars, DateTime? at = null, string method = "cash") =>
        rows.Db.ExecuteAsync("INSERT INTO payments (created, email, dollars, method) VALUES (@at, @email, @dollars, "
            + "@method)", new { at = at ?? rows.Now, email = VmRows.Email, dollars, method }, Cancel);

    /// <summary>What is owed to the tax office by the payments until a time.</summary>
    static Task<decimal> TaxAsync(Db db, DateTime? until = null) => db.AskAsync<decimal>(
        """
        SELECT coalesce(-sum(e.amount), 0) FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction
        WHERE e.account = (SELECT id FROM ledger_accounts WHERE type = 'tax')
            AND t.at < coalesce(@until::timestamptz, 'infinity')
        """, new { until }, Cancel);

    static async Task VerifiedAsync(Db db) => (await VerifyLedger.RunAsync(db, Cancel)).Differences.ShouldBeEmpty();

    [Theory]
    [InlineData("119", "19", 2, "100.00")]
    [InlineData("10", "19", 2, "8.40")]
    [InlineData("0.01", "19", 2, "0.01")]
    [InlineData("0.03", "100", 2, "0.02")]
    [InlineData("-0.03", "100", 2, "-0.02")]
    [InlineData("25", "0", 2, "25.00")]
    [InlineData("1000", "7.7", 0, "929")]
    [InlineData("9999999999.99", "7.77", 2, "9279020135.46")]
    public async Task The_net_amount_is_rounded_once(string gross, string percent, int decimals, string net)
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("UPDATE currency SET decimals = @decimals", new { decimals }, Cancel);
        static decimal D(string text) => decimal.Parse(text, CultureInfo.InvariantCulture);
        (await database.Db.AskAsync<decimal>("SELECT net_of(@gross, @percent)",
            new { gross = D(gross), percent = D(percent) }, Cancel)).ShouldBe(D(net));
    }

    /// <summary>Against the same sum in whole numbers.</summary>
    [Fact]
    public async Task Ten_thousand_amounts_are_rounded_as_whole_numbers_say()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await database.Db.AskAsync<long>("""
            SELECT count(*) FROM (
                SELECT (n * 7919::numeric * n) / 100 AS gross, (n * 31 % 10001)::numeric / 100 AS percent
                FROM generate_series(1, 10000) AS n) AS a
            WHERE net_of(gross, percent) <> div(2 * gross * 100 * 100 + 100 + percent, 2 * (100 + percent)) / 100
                OR net_of(-gross, percent) <> -net_of(gross, percent)
            """, null, Cancel)).ShouldBe(0);
    }

    [Theory]
    [InlineData("cash", 20), InlineData("bank", 20), InlineData("play", 20), InlineData("stripe", 20)]
    [InlineData("btcpay", 20), InlineData("assigned", 20), InlineData("opening", 20), InlineData("solidarity", 20)]
    [InlineData("voucher", 20), InlineData("trial", 20), InlineData("write_off", 20), InlineData("assigned", -20)]
    [InlineData("solidarity", -20), InlineData("voucher", -20), InlineData("trial", -20)]
    public async Task The_database_and_the_pages_agree_on_what_has_a_receipt(string method, int dollars)
    {
        await using var database = await TestDatabase.CreateAsync();
        (await database.Db.AskAsync<bool>("SELECT payment_has_receipt(@method, @dollars)",
            new { method, dollars = (decimal)dollars }, Cancel)).ShouldBe(PaymentMethod.HasReceipt(method, dollars));
    }

    [Fact]
    public async Task Tax_is_posted_with_each_payment_and_taken_back_with_it_and_no_balance_changes()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await SellAsync(rows, "19");
        var before = await TaxAsync(rows.Db);
        before.ShouldBe(15.97m);
        await PayAsync(rows, 10);
        await PayAsync(rows, 10, method: "opening");
        await PayAsync(rows, 0.02m);
        (await TaxAsync(rows.Db)).ShouldBe(before + 1.60m);
        var posted = "SELECT posted FROM account_totals WHERE email = @email";
        (await rows.Db.AskAsync<decimal>(posted, new { email = VmRows.Email }, Cancel)).ShouldBe(120.02m);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE WHERE id = 1", null, Cancel);
        (await TaxAsync(rows.Db)).ShouldBe(1.60m);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE WHERE id = 1", null, Cancel);
        (await TaxAsync(rows.Db)).ShouldBe(before + 1.60m);
        (await rows.Db.ListAsync<string>("SELECT note FROM ledger_transactions WHERE kind = 'tax' ORDER BY id", null,
            Cancel)).ShouldBe(["VAT 19 % in payment 1", "VAT 19 % in payment 2", "VAT 19 % in payment 1",
                "VAT 19 % in payment 1"]);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Sums.Single(s => s.Type == "tax_in_prices").Amount
            .ShouldBe(before + 1.60m);
        await VerifiedAsync(rows.Db);
    }

    [Fact]
    public async Task Without_a_seller_or_a_rate_nothing_is_posted()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await PayAsync(rows, 10);
        (await rows.CountAsync("payment_taxes", "TRUE", Cancel)).ShouldBe(0);
        await SetAsync(rows, new SetSeller.Input("Meadow Co-op", "1 Lane", "", "", "", null));
        (await rows.CountAsync("payment_taxes", "tax = 0", Cancel)).ShouldBe(2);
        (await rows.CountAsync("ledger_transactions", "kind = 'tax'", Cancel)).ShouldBe(0);
        await VerifiedAsync(rows.Db);
    }

    /// <summary>A rate that is entered late counts from its day on, also what was paid before it was entered.</summary>
    [Fact]
    public async Task A_rate_that_is_entered_late_is_posted_for_its_time_but_receipts_stay()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        await SellAsync(rows, "19", "2026-01-01");
        var begin = new DateTime(2026, 2, 1, 0, 0, 0, DateTimeKind.Utc);
        await PayAsync(rows, 119, begin.AddDays(-1));
        await PayAsync(rows, 119, begin);
        await PayAsync(rows, 119, begin.AddDays(1));
        (await IssueReceipt.RunAsync(rows.Db, VmRows.Email, 4, rows.Time, Cancel)).OrThrow();
        (await TaxAsync(rows.Db, rows.Now)).ShouldBe(57);
        await SellAsync(rows, "7", "2026-02-01");
        (await TaxAsync(rows.Db, begin)).ShouldBe(19);
        (await TaxAsync(rows.Db, rows.Now)).ShouldBe(19 + 7.79m + 19);
        (await rows.Db.AskAsync<string>("SELECT note FROM ledger_transactions ORDER BY id DESC LIMIT 1", null, Cancel))
            .ShouldBe("VAT 7 % instead of VAT 19 % in payment 3");
        (await IssueReceipt.RunAsync(rows.Db, VmRows.Email, 3, rows.Time, Cancel)).OrThrow();
        (await rows.Db.ListAsync<decimal>("SELECT tax FROM receipts ORDER BY number", null, Cancel))
            .ShouldBe([19, 7.79m]);
        await VerifiedAsync(rows.Db);
    }

    /// <summary>Who pays while a rate is entered has the tax of one or the other, and always some.</summary>
    [Fact]
    public async Task Payments_at_the_moment_at_which_the_seller_is_entered_have_their_tax()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await Parallel.ForEachAsync(Enumerable.Range(0, 41), new ParallelOptions
        {
            MaxDegreeOfParallelism = 8,
            CancellationToken = Cancel,
        }, async (n, _) =>
        {
            if (n == 20) await SellAsync(rows, "19");
            else await PayAsync(rows, 119);
        });
        (await TaxAsync(rows.Db)).ShouldBe(40 * 19 + 15.97m);
        await VerifiedAsync(rows.Db);
    }

    /// <summary>What counts of a payment changes; its rate is that of its beginning.</summary>
    [Fact]
    public async Task A_part_that_is_refunded_takes_its_tax_back_at_the_rate_of_the_payment()
    {
        await using var world = await PaymentWorld.StartAsync();
        (await SetSeller.RunAsync(world.Db, "ops", Seller, world.Hub.Time, Cancel)).OrThrow();
        var (id, _) = await world.PaidAsync("119");
        (await TaxAsync(world.Db)).ShouldBe(19);
        world.Hub.Time.Advance(TimeSpan.FromHours(1));
        (await SetSeller.RunAsync(world.Db, "ops", Seller with { TaxPercent = "50" }, world.Hub.Time, Cancel))
            .OrThrow();
        (await RefundPayment.RunAsync(
            world.Db, world.Settings, "ops", id, "59.50", "asked", world.Hub.Time, Cancel)).OrThrow();
        await world.SettleAsync();
        (await TaxAsync(world.Db)).ShouldBe(9.50m);
        await VerifiedAsync(world.Db);
    }

    /// <summary>Months, rates and takings back at random.</summary>
    [Fact]
    public async Task Ledger_statements_and_receipts_say_the_same_of_each_month()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var random = new Random(53);
        var begin = new DateTime(2025, 10, 1, 0, 0, 0, DateTimeKind.Utc);
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        foreach (var (percent, from) in
            ((string, string?)[])[("19", null), ("7.7", "2025-11-16"), ("21", "2026-01-05")])
            await SellAsync(rows, percent, from);
        for (var n = 0; n < 60; n++)
            await PayAsync(rows, random.Next(1, 100_000) / 100m, begin.AddHours(random.Next(24 * 150)));
        await rows.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE WHERE id % 7 = 0", null, Cancel);
        foreach (var id in await rows.Db.ListAsync<int>("SELECT id FROM payments WHERE id > 1", null, Cancel))
            (await IssueReceipt.RunAsync(rows.Db, VmRows.Email, id, rows.Time, Cancel)).OrThrow();
        for (var month = begin; month <= rows.Now; month = month.AddMonths(1))
        {
            var statement = await Month.LoadAsync(rows.Db, VmRows.Email, month, rows.Now, Cancel);
            var tax = statement.Taxes.Sum(t => t.Tax);
            (await TaxAsync(rows.Db, month.AddMonths(1)) - await TaxAsync(rows.Db, month)).ShouldBe(tax);
            (await rows.Db.AskAsync<decimal>("""
                SELECT coalesce(sum(r.tax), 0) FROM receipts r JOIN ledger_transactions t ON t.id = r.transaction
                WHERE t.at >= @month AND t.at < @month + interval '1 month'
                """, new { month }, Cancel)).ShouldBe(tax);
            statement.Taxes.Sum(t => t.Net + t.Tax).ShouldBe(statement.Lines.Sum(l => l.Amount));
        }
        (await Month.LoadAsync(rows.Db, VmRows.Email, begin.AddMonths(1), rows.Now, Cancel)).Taxes
            .Select(t => t.Name).ShouldBe(["VAT, 7.7 %", "VAT, 19 %"]);
        await VerifiedAsync(rows.Db);
    }

    [Theory]
    [InlineData("DELETE FROM payment_taxes", "payment_taxes_stay")]
    [InlineData("UPDATE payment_taxes SET gross = 7, net = 7 - tax", "payment_taxes_stay")]
    [InlineData("UPDATE payment_taxes SET net = 99, tax = 1", "receipts_as_taxed")]
    [InlineData("UPDATE payment_taxes SET tax = 1", "payment_taxes_gross_is_net_and_tax")]
    [InlineData("UPDATE payment_taxes SET net = 200, tax = -100", "payment_taxes_tax_is_part")]
    [InlineData("INSERT INTO payment_taxes SELECT * FROM payment_taxes", "payment_taxes_pkey")]
    [InlineData("INSERT INTO payment_taxes SELECT id, 1, 119, 100, 19 FROM ledger_transactions WHERE kind = 'tax'",
        "payment_taxes_of_payment")]
    [InlineData("TRUNCATE payment_taxes CASCADE", null)]
    [InlineData("INSERT INTO receipts SELECT 0, transaction + 1, issued, seller, NULL, name, address, tax_number, "
        + "gross, net, tax FROM receipts", "receipts_as_taxed")]
    public async Task What_was_taxed_stays_whoever_tries(string sql, string? constraint)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await SellAsync(rows, "19");
        (await IssueReceipt.RunAsync(rows.Db, VmRows.Email, 1, rows.Time, Cancel)).OrThrow();
        var error = await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(sql, null, Cancel));
        if (constraint is not null) error.ConstraintName.ShouldBe(constraint);
        await VerifiedAsync(rows.Db);
    }

    [Theory]
    [InlineData("DELETE FROM receipts; DELETE FROM payment_taxes",
        "Transaction 1 of payment 1 has no row for the tax in it.",
        "The tax in all payments is 0, but the ledger has 15.97 of it in tax_in_prices.",
        "The tax in all payments is 0, but the ledger has -15.97 of it in tax.")]
    [InlineData("UPDATE payment_taxes SET net = net + 1, tax = tax - 1",
        "Transaction 1 of payment 1 is 100.00 with 15.97 of tax by line 1 of the seller, but its row says 100.00 with "
            + "14.97 by line 1.",
        "The tax in all payments is 14.97, but the ledger has 15.97 of it in tax_in_prices.",
        "The tax in all payments is 14.97, but the ledger has -15.97 of it in tax.")]
    [InlineData("UPDATE sellers SET tax_percent = 25",
        "Transaction 1 of payment 1 is 100.00 with 20.00 of tax by line 1 of the seller, but its row says 100.00 with "
            + "15.97 by line 1.")]
    [InlineData("UPDATE payment_taxes SET gross = gross + 1000, net = net + 1000",
        "Transaction 1 of payment 1 is 100.00 with 15.97 of tax by line 1 of the seller, but its row says 1100.00 with "
            + "15.97 by line 1.")]
    [InlineData("INSERT INTO sellers (active_from, name, address, tax_label, tax_percent) "
        + "VALUES ('2099-01-01', 'Later', '1 Lane', 'VAT', 19); UPDATE payment_taxes SET seller = 2",
        "Transaction 1 of payment 1 is 100.00 with 15.97 of tax by line 1 of the seller, but its row says 100.00 with "
            + "15.97 by line 2.")]
    [InlineData("INSERT INTO payment_taxes SELECT id, 1, 119, 100, 19 FROM ledger_transactions WHERE kind = 'tax'",
        "Transaction 2 has a row for tax, but is not taxed.",
        "The tax in all payments is 34.97, but the ledger has 15.97 of it in tax_in_prices.",
        "The tax in all payments is 34.97, but the ledger has -15.97 of it in tax.")]
    public async Task What_is_wrong_with_tax_is_named(string change, params string[] says)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await SellAsync(rows, "19");
        await VerifyLedgerTests.TamperAsync(rows.Db, change);
        (await VerifyLedger.RunAsync(rows.Db, Cancel)).Differences.ShouldBe(says);
    }
}
