using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Sponsorships;
using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Features.Sponsorships;

/// <summary>What closed accounts left to the fund before anybody could get it is in it after the upgrade.</summary>
public sealed class FundUpgradeTests
{
    const int Before = 40;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    const string Gift = "INSERT INTO payments (email, dollars, method) VALUES ('a@example.org', -30, 'solidarity')";

    /// <summary>By hand, which nothing refused then.</summary>
    const string Spend = """
        WITH added AS (INSERT INTO ledger_transactions (at, kind, entries, note)
            VALUES (now(), 'adjustment', 2, 'paid out in cash') RETURNING id)
        INSERT INTO ledger_entries (transaction, line, entries, account, amount)
        SELECT id, 1, 2, 2, -40 FROM added UNION ALL SELECT id, 2, 2, 3, 40 FROM added
        """;

    const string Grant = "INSERT INTO payments (email, dollars, method) VALUES ('a@example.org', 1, 'solidarity')";

    [Theory]
    [InlineData(false, 30), InlineData(true, -10)]
    public async Task The_fund_holds_what_the_ledger_says(bool spent, int holds)
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var db = database.Db;
        var migrator = new Migrator(db, NullLogger.Instance);
        await migrator.MigrateAsync(Before, allowDowngrade: false, Cancel);
        await db.ExecuteAsync("INSERT INTO accounts (email) VALUES ('a@example.org')", null, Cancel);
        await db.ExecuteAsync(Gift, null, Cancel);
        if (spent) await db.ExecuteAsync(Spend, null, Cancel);
        await migrator.MigrateAsync(Cancel);
        (await db.AskAsync<decimal>(FundSql.Balance, null, Cancel)).ShouldBe(holds);
        // One that was below zero before can be filled, and not emptied further.
        (await Should.ThrowAsync<PostgresException>(() => db.ExecuteAsync(Spend, null, Cancel)))
            .ConstraintName.ShouldBe("solidarity_fund_not_below_zero");
        if (spent) await Should.ThrowAsync<PostgresException>(() => db.ExecuteAsync(Grant, null, Cancel));
        await db.ExecuteAsync(Gift, null, Cancel);
        await db.ExecuteAsync(Grant, null, Cancel);
        (await db.AskAsync<decimal>(FundSql.Balance, null, Cancel)).ShouldBe(holds + 29);
        (await VerifyLedger.RunAsync(db, Cancel)).Differences.ShouldBeEmpty();
        await migrator.MigrateAsync(Before, allowDowngrade: true, Cancel);
        await migrator.MigrateAsync(Cancel);
        (await db.AskAsync<decimal>(FundSql.Balance, null, Cancel)).ShouldBe(holds + 29);
    }

    [Fact]
    public async Task A_downgrade_that_would_forget_what_was_paid_is_refused()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        (await FundTests.GiveAsync(rows, "10")).OrThrow();
        var migrator = new Migrator(rows.Db, NullLogger.Instance);
        await Should.ThrowAsync<Exception>(() => migrator.MigrateAsync(Before, allowDowngrade: true, Cancel));
        (await FundTests.FundAsync(rows)).ShouldBe(10);
    }
}
