using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Reconcilers;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Features.Ledger;

/// <summary>The history of a database without a ledger is posted, and nobody's balance changes.</summary>
public sealed class LedgerUpgradeTests
{
    /// <summary>The last version without a ledger.</summary>
    const int Before = 15;

    const int Accounts = 150;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1), InlineData(2)]
    public async Task Balances_before_and_after_are_the_same(int seed)
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var db = database.Db;
        var migrator = new Migrator(db, NullLogger.Instance);
        await migrator.MigrateAsync(Before, allowDowngrade: false, Cancel);
        await db.ExecuteAsync(FillSql, new { salt = $"{seed}", count = Accounts }, Cancel);
        // The script reads the server's clock.
        var now = await db.AskAsync<DateTime>("SELECT now()", null, Cancel);
        var before = await BalancesAsync(database, now);
        await migrator.MigrateAsync(Cancel);

        (await BalancesAsync(database, now)).ShouldBe(before);
        (await db.AskAsync<decimal>("SELECT sum(amount) FROM ledger_entries", null, Cancel)).ShouldBe(0);
        (await db.AskAsync<long>("SELECT count(*) FROM ledger_transactions WHERE payment IS NOT NULL", null, Cancel))
            .ShouldBe(await db.AskAsync<long>("SELECT count(*) FROM payments WHERE NOT invalidated", null, Cancel));
        (await PostedAsync(database)).ShouldBe(await ExpectedAsync(database));
        var report = await VerifyLedger.RunAsync(db, Cancel);
        report.Differences.ShouldBeEmpty();
        report.Waiting.ShouldBeEmpty();

        // Metering goes on where the script ended.
        var time = new FakeTimeProvider(new DateTimeOffset(now, TimeSpan.Zero).AddHours(3));
        var epoch = await db.FindAsync<long>("UPDATE seat SET epoch = epoch + 1 RETURNING epoch", null, Cancel);
        (await new Metering(db, database.Fence, time).CatchUpAsync(epoch, Cancel)).ShouldBeInRange(2, 3);
        (await db.AskAsync<long>("SELECT count(*) FROM ledger_entries WHERE corrects", null, Cancel)).ShouldBe(0);
        (await PostedAsync(database)).ShouldBe(await ExpectedAsync(database));
        (await VerifyLedger.RunAsync(db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_downgrade_leaves_payments_and_usage()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var migrator = new Migrator(database.Db, NullLogger.Instance);
        await migrator.MigrateAsync(Before, allowDowngrade: false, Cancel);
        await database.Db.ExecuteAsync(FillSql, new { salt = "3", count = 20 }, Cancel);
        var now = await database.Db.AskAsync<DateTime>("SELECT now()", null, Cancel);
        var before = await BalancesAsync(database, now);
        await migrator.MigrateAsync(Cancel);
        await migrator.MigrateAsync(Before, allowDowngrade: true, Cancel);
        await migrator.MigrateAsync(Cancel);
        (await BalancesAsync(database, now)).ShouldBe(before);
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    /// <summary>
    /// Payments, some invalidated; for each account two VMs with spans over a year and a half, across months and with
    /// fractions of seconds, some of them free, some open, one in a hundred ending within this hour.
    /// </summary>
    const string FillSql = """
        INSERT INTO accounts (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, @count) AS n;
        INSERT INTO hosts (id, state) VALUES ('h', 'joined');
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb) VALUES ('tiny', 'T', 'u', 1, 64);
        INSERT INTO payments (created, email, dollars, method, invalidated)
        SELECT now() - interval '1 day' * k, email, 0.01 + (hashtext(email || k || @salt) & 4095) / 100.0,
            CASE WHEN k & 3 = 0 THEN 'play' ELSE 'cash' END, hashtext(k || email || @salt) & 7 = 0
        FROM accounts, generate_series(1, 6) AS k WHERE hashtext(email) & 15 > 0;
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation)
        SELECT 'capsul-' || lpad(n::text || k, 10, 'v'), 'user' || n || '@example.org', 'n' || k, 'f1-s', 'tiny', 'x',
            'u', 'h', now() - interval '2 years', 7.50, 1, 1024, 25, 'running', 'on', 1
        FROM generate_series(1, @count) AS n, (VALUES ('a'), ('b')) AS k (k);
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT v.id, v.email, tstzrange(
                now() - interval '20 days' * n - interval '1.000123 seconds' * (hashtext(v.id || n || @salt) & 1048575),
                now() - interval '20 days' * n + interval '1.000321 seconds' * (hashtext(n || v.id || @salt) & 262143)),
            (hashtext(v.id || @salt || n) & 2047) / 100.0
        FROM vms v, generate_series(1, 27) AS n WHERE hashtext(v.email || 'used') & 7 > 0;
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT v.id, v.email, tstzrange(now() - interval '1.5 seconds' * (hashtext(v.id || @salt) & 262143),
            CASE WHEN hashtext(v.id) & 1 = 0 THEN now() END), 7.50
        FROM vms v WHERE hashtext(v.email || 'used') & 7 > 1
        """;

    static async Task<IReadOnlyList<BalanceRow>> BalancesAsync(TestDatabase database, DateTime now)
    {
        var balances = new List<BalanceRow>();
        for (var n = 1; n <= Accounts; n++)
            balances.Add((await database.Db.FindAsync<BalanceRow>(
                BillingSql.Balance, new { email = $"user{n}@example.org", now }, Cancel))!);
        return balances;
    }

    static Task<IReadOnlyList<string>> PostedAsync(TestDatabase database) => database.Db.ListAsync<string>(
        "SELECT email || ' ' || posted FROM account_totals WHERE posted <> 0 ORDER BY email", null, Cancel);

    /// <summary>Payments less usage until the posted hour, by the second, rounded once.</summary>
    static Task<IReadOnlyList<string>> ExpectedAsync(TestDatabase database) => database.Db.ListAsync<string>("""
        SELECT email || ' ' || posted FROM (
            SELECT a.email, coalesce((SELECT sum(dollars) FROM payments WHERE email = a.email AND NOT invalidated), 0)
                - coalesce((SELECT round(div(100 * sum(dollars_per_month * extract(epoch FROM
                    least(coalesce(upper(span), m.until), m.until) - lower(span))), 2630016) / 100, 2)
                    FROM usage_spans u WHERE u.email = a.email AND lower(u.span) < m.until), 0.00) AS posted
            FROM accounts a, metering m) AS e
        WHERE posted <> 0 ORDER BY email
        """, null, Cancel);
}
