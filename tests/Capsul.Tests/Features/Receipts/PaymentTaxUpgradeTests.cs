using Capsul.Hub.Features.Ledger;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Receipts;

/// <summary>What was paid before is taxed by the upgrade, as its receipts say, and no balance changes.</summary>
public sealed class PaymentTaxUpgradeTests
{
    const int Before = 52;

    const string Seller = "INSERT INTO sellers (active_from, name, address, tax_label, tax_percent) "
        + "VALUES ('1970-01-01Z', 'm', 'a', 'VAT', 19), ('2026-02-01Z', 'm', 'a', 'VAT', 50);";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<(TestDatabase Database, Migrator Migrator)> PaidAsync(string sql)
    {
        var database = await TestDatabase.CreateEmptyAsync();
        var migrator = new Migrator(database.Db, NullLogger.Instance);
        await migrator.MigrateAsync(Before, allowDowngrade: false, Cancel);
        await database.Db.ExecuteAsync("""
            INSERT INTO accounts (email) VALUES ('ada@example.org');
            INSERT INTO payments (created, email, dollars, method) VALUES
                ('2026-01-10Z', 'ada@example.org', 119, 'cash'), ('2026-02-10Z', 'ada@example.org', 30, 'bank'),
                ('2026-02-10Z', 'ada@example.org', 7, 'opening'), ('2026-01-11Z', 'ada@example.org', 0.01, 'cash');
            UPDATE payments SET invalidated = TRUE WHERE id = 1;
            INSERT INTO payments (created, email, dollars, method, rest_of)
            VALUES ('2026-02-20Z', 'ada@example.org', 59.50, 'cash', 1);
            """ + sql, null, Cancel);
        return (database, migrator);
    }

    [Fact]
    public async Task Receipts_are_kept_and_the_rest_is_taxed_as_they_would_be_made()
    {
        // The receipt of payment 2 was made when the later line was not entered yet.
        var (database, migrator) = await PaidAsync(Seller + """
            INSERT INTO receipts (number, transaction, issued, seller, name, address, tax_number, gross, net, tax)
            SELECT 0, id, now(), 1, '', '', '', 30, 25.21, 4.79 FROM ledger_transactions WHERE payment = 2;
            """);
        await using var _ = database;
        const string Posted = "SELECT posted FROM account_totals";
        var before = await database.Db.AskAsync<decimal>(Posted, null, Cancel);
        await migrator.MigrateAsync(Cancel);
        (await database.Db.ListAsync<string>("""
            SELECT t.payment || '/' || t.turn || ' ' || x.seller || ' ' || x.tax
            FROM payment_taxes x JOIN ledger_transactions t ON t.id = x.transaction ORDER BY t.payment, t.turn
            """, null, Cancel)).ShouldBe(
                ["1/1 1 19.00", "1/2 1 -19.00", "2/1 1 4.79", "4/1 1 0.00", "5/1 1 9.50"]);
        (await database.Db.AskAsync<decimal>(Posted, null, Cancel)).ShouldBe(before);
        var report = await VerifyLedger.RunAsync(database.Db, Cancel);
        report.Differences.ShouldBeEmpty();
        report.Sums.Single(s => s.Type == "tax").Amount.ShouldBe(-14.29m);
        // Nothing in the ledger is ever taken away.
        (await Should.ThrowAsync<Exception>(() => migrator.MigrateAsync(Before, allowDowngrade: true, Cancel)))
            .ToString().ShouldContain("ledger_transactions_kind_check");
    }

    [Fact]
    public async Task Without_tax_there_is_a_way_back()
    {
        var (database, migrator) = await PaidAsync(
            "INSERT INTO sellers (active_from, name, address) VALUES ('1970-01-01Z', 'm', 'a');");
        await using var _ = database;
        await migrator.MigrateAsync(Cancel);
        await migrator.MigrateAsync(Before, allowDowngrade: true, Cancel);
        await migrator.MigrateAsync(Cancel);
        (await database.Db.AskAsync<long>("SELECT count(*) FROM payment_taxes WHERE tax = 0", null, Cancel))
            .ShouldBe(5);
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }
}
