using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Npgsql;

namespace Capsul.Tests.Features.Ledger;

/// <summary>The ledger is right whoever writes, by whatever means.</summary>
public sealed class LedgerTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<TestDatabase> PaidAsync()
    {
        var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("""
            INSERT INTO accounts (email) VALUES ('ada@example.org'), ('bob@example.org');
            INSERT INTO payments (email, dollars, method)
            VALUES ('ada@example.org', 20, 'cash'), ('bob@example.org', 3.5, 'play')
            """, null, Cancel);
        return database;
    }

    /// <summary>Type, name and email address of each ledger account that has entries, and their sum.</summary>
    static async Task<string> SumsAsync(Db db) => string.Join(' ', await db.ListAsync<string>("""
        SELECT a.type || coalesce(':' || nullif(a.name, ''), '') || coalesce(':' || a.email, '') || '=' || sum(e.amount)
        FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account GROUP BY a.id ORDER BY a.id
        """, null, Cancel));

    [Fact]
    public async Task A_payment_is_posted_invalidated_and_validated_by_any_statement()
    {
        await using var database = await PaidAsync();
        (await SumsAsync(database.Db)).ShouldBe("cash=20.00 provider_clearing:play=3.50 "
            + "customer:ada@example.org=-20.00 customer:bob@example.org=-3.50");
        await database.Db.ExecuteAsync("UPDATE payments SET invalidated = True", null, Cancel);
        (await SumsAsync(database.Db)).ShouldBe("cash=0.00 provider_clearing:play=0.00 "
            + "customer:ada@example.org=0.00 customer:bob@example.org=0.00");
        await database.Db.ExecuteAsync("UPDATE payments SET invalidated = False, note = 'it came' WHERE id = 1; "
            + "UPDATE payments SET invalidated = False WHERE id = 1", null, Cancel);
        (await database.Db.ListAsync<string>("SELECT kind || ' ' || payment || ' ' || turn FROM ledger_transactions "
            + "WHERE payment = 1 ORDER BY id", null, Cancel)).ShouldBe(["payment 1 1", "reversal 1 2", "payment 1 3"]);
        (await database.Db.FindAsync<decimal>("SELECT posted FROM account_totals WHERE email = 'ada@example.org'", null,
            Cancel)).ShouldBe(20);
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Fact]
    public async Task A_payment_that_came_invalidated_is_posted_when_it_counts()
    {
        await using var database = await PaidAsync();
        await database.Db.ExecuteAsync("INSERT INTO payments (email, dollars, method, invalidated) "
            + "VALUES ('ada@example.org', 7, 'cash', TRUE)", null, Cancel);
        (await SumsAsync(database.Db)).ShouldContain("cash=20.00");
        await database.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE WHERE dollars = 7", null, Cancel);
        (await SumsAsync(database.Db)).ShouldContain("cash=27.00");
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Fact]
    public async Task An_account_that_is_renamed_keeps_its_ledger()
    {
        await using var database = await PaidAsync();
        await database.Db.ExecuteAsync(
            "UPDATE accounts SET email = 'lovelace@example.org' WHERE email = 'ada@example.org'", null, Cancel);
        (await SumsAsync(database.Db)).ShouldContain("customer:lovelace@example.org=-20.00");
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Theory]
    [InlineData("'NaN'", "the amount of a payment is a number; NaN is not")]
    [InlineData("'Infinity'", "the amount of a payment is a number; Infinity is not")]
    [InlineData("'-Infinity'", "the amount of a payment is a number; -Infinity is not")]
    [InlineData("0", "a payment is more than 0; 0 is not")]
    [InlineData("-5", "a payment is more than 0; -5 is not")]
    [InlineData("1e10", "a payment is less than 10000000000; 10000000000 is not")]
    [InlineData("1e200", "a payment is less than 10000000000;")]
    [InlineData("1.005", "a payment has at most 2 decimal places; 1.005 has more")]
    [InlineData("0.001", "a payment has at most 2 decimal places; 0.001 has more")]
    public async Task An_amount_that_is_none_is_refused_in_words(string dollars, string says)
    {
        await using var database = await PaidAsync();
        (await RefusedAsync(database.Db,
            $"INSERT INTO payments (email, dollars, method) VALUES ('ada@example.org', {dollars}, 'cash')"))
            .MessageText.ShouldStartWith(says);
    }

    [Theory]
    [InlineData("DELETE FROM payments WHERE id = 2", "payment 2 cannot be deleted", "invalidated = TRUE WHERE id = 2")]
    [InlineData("UPDATE payments SET dollars = 5 WHERE id = 1", "cannot be changed", "record another payment")]
    [InlineData("UPDATE payments SET dollars = 20.001 WHERE id = 1", "cannot be changed", "record another payment")]
    [InlineData("UPDATE payments SET email = 'bob@example.org' WHERE id = 1", "cannot be changed", "another payment")]
    [InlineData("UPDATE payments SET method = 'play' WHERE id = 1", "cannot be changed", "record another payment")]
    [InlineData("UPDATE payments SET id = DEFAULT WHERE id = 1", "cannot be changed", "record another payment")]
    [InlineData("TRUNCATE payments", "cannot truncate a table referenced", "")]
    [InlineData("TRUNCATE payments CASCADE", "the ledger is only added to", "Post another transaction")]
    [InlineData("DELETE FROM ledger_entries", "the ledger is only added to", "Post another transaction")]
    [InlineData("UPDATE ledger_entries SET amount = 1", "the ledger is only added to", "Post another transaction")]
    [InlineData("TRUNCATE ledger_entries", "the ledger is only added to", "Post another transaction")]
    [InlineData("UPDATE ledger_transactions SET at = now()", "the ledger is only added to", "")]
    [InlineData("DELETE FROM ledger_transactions WHERE FALSE", "the ledger is only added to", "")]
    [InlineData("DELETE FROM ledger_accounts", "the ledger is only added to", "")]
    [InlineData("UPDATE ledger_accounts SET type = 'tax' WHERE type = 'cash'", "stays what it is", "")]
    [InlineData("UPDATE ledger_accounts SET email = 'bob@example.org' WHERE type = 'customer'", "stays what it is", "")]
    [InlineData("INSERT INTO ledger_entries VALUES (1, 3, 2, 1, 5)", "transaction_has_all_its_entries", "")]
    [InlineData("INSERT INTO ledger_entries VALUES (1, 3, 3, 1, 5)", "transaction_has_so_many", "")]
    [InlineData("INSERT INTO ledger_entries VALUES (1, 2, 2, 1, 5)", "ledger_entries_pkey", "")]
    [InlineData("INSERT INTO ledger_transactions (at, kind, entries) VALUES (now(), 'adjustment', 2)",
        "is to have 2 entries, but has 0", "")]
    [InlineData("INSERT INTO ledger_transactions (at, kind, entries) VALUES (now(), 'adjustment', 1)",
        "ledger_transactions_has_two_entries", "")]
    [InlineData("INSERT INTO ledger_transactions (at, kind, entries, payment, turn) VALUES (now(), 'payment', 2, 1, 1)",
        "ledger_transactions_payment_counts_once", "")]
    [InlineData("UPDATE currency SET code = 'EUR'", "the currency is USD with 2 decimal places, and stays that", "")]
    [InlineData("DELETE FROM currency", "the ledger is only added to", "")]
    public async Task What_was_posted_stays(string statement, string says, string instead)
    {
        await using var database = await PaidAsync();
        var before = await SumsAsync(database.Db);
        var error = await RefusedAsync(database.Db, statement);
        error.MessageText.ShouldContain(says);
        (error.Hint ?? "").ShouldContain(instead);
        (await SumsAsync(database.Db)).ShouldBe(before);
    }

    [Theory]
    [InlineData("5", "-4", 2, "must sum to zero; they sum to 1")]
    [InlineData("5", "-5", 999, "there is no ledger account 999")]
    [InlineData("0.5", "-0.5", 2, "has more decimal places than the currency", 0)]
    [InlineData("5.001", "-5.001", 2, "ledger_entries_amount_has_two_decimals")]
    [InlineData("0", "0", 2, "ledger_entries_amount_is_a_number_but_not_zero")]
    [InlineData("'NaN'", "'NaN'", 2, "ledger_entries_amount_is_a_number_but_not_zero")]
    [InlineData("'Infinity'", "'-Infinity'", 2, "ledger_entries_amount_is_a_number_but_not_zero")]
    public async Task Entries_must_balance(string debit, string credit, int account, string says, int decimals = 2)
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("UPDATE currency SET decimals = @decimals", new { decimals }, Cancel);
        (await RefusedAsync(database.Db, $"""
            WITH added AS (INSERT INTO ledger_transactions (at, kind, entries) VALUES (now(), 'adjustment', 2)
                RETURNING id)
            INSERT INTO ledger_entries
            SELECT id, 1, 2, 1, {debit}::numeric FROM added UNION ALL SELECT id, 2, 2, {account}, {credit} FROM added
            """)).MessageText.ShouldContain(says);
    }

    [Fact]
    public async Task Sixteen_that_write_at_once_all_balance()
    {
        await using var database = await PaidAsync();
        await Task.WhenAll(Enumerable.Range(0, 16).Select(n => database.Db.ExecuteAsync(n % 2 == 0
            ? "INSERT INTO payments (email, dollars, method) SELECT email, 1, 'cash' FROM accounts ORDER BY email"
            : "INSERT INTO payments (email, dollars, method) SELECT email, 1, 'cash' FROM accounts ORDER BY email DESC",
            null, Cancel)));
        (await SumsAsync(database.Db)).ShouldBe("cash=52.00 provider_clearing:play=3.50 "
            + "customer:ada@example.org=-36.00 customer:bob@example.org=-19.50");
        (await VerifyLedger.RunAsync(database.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    [Fact]
    public async Task The_currency_is_that_of_the_settings_until_something_is_posted()
    {
        await using var database = await TestDatabase.CreateAsync();
        var settings = Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = "/tmp/capsul-none" });
        await SetCurrency.RunAsync(database.Db, settings.With(("CAPSUL_CURRENCY", "JPY ¥ 0")), Cancel);
        await database.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES ('ada@example.org')", null, Cancel);
        (await RefusedAsync(database.Db, "INSERT INTO payments (email, dollars, method) "
            + "VALUES ('ada@example.org', 0.5, 'cash')")).MessageText.ShouldContain("at most 0 decimal places");
        (await RecordCash.RunAsync(database.Db, "test", "ada@example.org", 500, "", TimeProvider.System, Cancel))
            .OrThrow();
        await SetCurrency.RunAsync(database.Db, settings.With(("CAPSUL_CURRENCY", "JPY JP¥ 0")), Cancel);
        (await Should.ThrowAsync<ProblemException>(() => SetCurrency.RunAsync(database.Db, settings, Cancel)))
            .Problem.Message.ShouldContain("Set it to \"JPY JP¥ 0\"");
    }

    static Task<PostgresException> RefusedAsync(Db db, string statement) =>
        Should.ThrowAsync<PostgresException>(() => db.ExecuteAsync(statement, null, Cancel));
}
