using Capsul.Postgres.Migrations;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Payments;

/// <summary>What was written before is put right by the upgrade, and stays through a downgrade.</summary>
public sealed class BooksUpgradeTests
{
    const int Before = 46;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Lines_rests_pauses_and_secrets_of_before_are_put_right()
    {
        await using var database = await TestDatabase.CreateEmptyAsync();
        var db = database.Db;
        var migrator = new Migrator(db, NullLogger.Instance);
        await migrator.MigrateAsync(Before, allowDowngrade: false, Cancel);
        await db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES ('ada@example.org');
            INSERT INTO payments (email, dollars, method, invalidated, note) VALUES
                ('ada@example.org', 1, 'bank', TRUE, ''), ('ada@example.org', 2, 'assigned', TRUE, ''),
                ('ada@example.org', 3, 'bank', FALSE, ''), ('ada@example.org', 4, 'bank', TRUE, ''),
                ('ada@example.org', 2, 'bank', FALSE, 'the rest of payment 4'),
                ('ada@example.org', 9, 'cash', FALSE, 'the rest of payment 3'),
                ('ada@example.org', 9, 'cash', FALSE, 'the rest of payment 99');
            INSERT INTO bank_lines (entry, booked, amount, payer, message, imported, actor, state, email, payment)
            SELECT 'e' || n, now(), n, '', '', now(), '', 'assigned', 'ada@example.org', n
            FROM generate_series(1, 4) AS n;
            INSERT INTO account_closings (email, actor, reason, asked, due, money, pay_to)
            VALUES ('ada@example.org', '', '', now(), now(), 'back', '');
            INSERT INTO account_payouts (closing, payment, amount, state, created, done)
            SELECT id, 4, 2, 'done', now(), now() FROM account_closings;
            UPDATE account_closings SET reopened = now();
            INSERT INTO friend_links (email, code_hash, name, created)
            VALUES ('ada@example.org', decode(repeat('00', 32), 'hex'), '', now());
            INSERT INTO provider_payments (provider, email, amount, key, created, return_to, friend_link, reference,
                status)
            VALUES ('stripe', 'ada@example.org', 5, 'a', now(), 'https://x/secret', 1, 'r', 'open'),
                ('stripe', 'ada@example.org', 5, 'b', now(), 'https://x/secret', 1, NULL, 'failed'),
                ('stripe', 'ada@example.org', 5, 'c', now(), 'https://x/needed', 1, NULL, 'new'),
                ('stripe', 'ada@example.org', 5, 'd', now(), 'https://x/own', NULL, 's', 'open');
            UPDATE dunning_clock SET paused = 'a backup was restored';
            """, null, Cancel);
        await migrator.MigrateAsync(Cancel);
        await AgreesAsync();
        await migrator.MigrateAsync(Before, allowDowngrade: true, Cancel);
        await migrator.MigrateAsync(Cancel);
        (await ListAsync("SELECT coalesce(rest_of, 0) FROM payments ORDER BY id")).ShouldBe("0 0 0 0 4 0 0");

        async Task AgreesAsync()
        {
            (await ListAsync("SELECT state || ':' || coalesce(email, '') FROM bank_lines ORDER BY id")).ShouldBe(
                "waiting: kept: assigned:ada@example.org returned:ada@example.org");
            (await ListAsync("SELECT coalesce(bank_line, 0) || '/' || coalesce(rest_of, 0) FROM payments ORDER BY id"))
                .ShouldBe("1/0 2/0 3/0 4/0 0/4 0/0 0/0");
            (await ListAsync("SELECT CASE return_to WHEN '' THEN '-' ELSE return_to END FROM provider_payments "
                + "ORDER BY id")).ShouldBe("- - https://x/needed https://x/own");
            (await ListAsync("SELECT lost_payments FROM dunning_clock")).ShouldBe("true");
        }

        async Task<string> ListAsync(string sql) => await db.AskAsync<string>(
            $"SELECT string_agg(q::text, ' ') FROM ({sql}) AS q (q)", null, Cancel);
    }
}
