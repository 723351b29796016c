namespace Capsul.Hub.Features.Ledger;

/// <summary>
/// Statements that post to the ledger. Payments are posted by a trigger, so that any way of writing them does; the
/// database refuses whatever does not balance. Debits are positive.
/// </summary>
public static class LedgerSql
{
    /// <summary>Customers get their ledger account with their first entry.</summary>
    public const string AddCustomers = """
        -- LedgerSql.AddCustomers
        INSERT INTO ledger_accounts (type, email)
        SELECT 'customer', e.email FROM unnest(@emails::text[]) AS e (email)
        WHERE NOT EXISTS (SELECT FROM ledger_accounts a WHERE a.email = e.email)
        ORDER BY e.email ON CONFLICT (email) DO NOTHING
        """;

    /// <summary>
    /// One transaction for the usage of many customers in one hour, against the income. The unique key of account and
    /// hour refuses to post it twice.
    /// </summary>
    public const string PostUsage = """
        -- LedgerSql.PostUsage
        WITH charges AS (
            SELECT a.id AS account, c.amount, row_number() OVER (ORDER BY a.email) AS line
            FROM unnest(@emails::text[], @amounts::numeric[]) AS c (email, amount)
                JOIN ledger_accounts a ON a.email = c.email
        ), income AS (
            SELECT count(*) + 1 AS line, -sum(amount) AS amount FROM charges HAVING sum(amount) <> 0
        ), added AS (
            INSERT INTO ledger_transactions (at, kind, entries)
            SELECT @hour, @kind, (SELECT count(*) FROM charges) + (SELECT count(*) FROM income) RETURNING id, entries
        )
        INSERT INTO ledger_entries (transaction, line, entries, account, amount, hour, corrects)
        SELECT d.id, c.line, d.entries, c.account, c.amount, @hour, @kind = 'correction' FROM added d, charges c
        UNION ALL
        SELECT d.id, i.line, d.entries,
            (SELECT id FROM ledger_accounts WHERE type = 'usage_income' AND email IS NULL), i.amount, NULL, FALSE
        FROM added d, income i
        ORDER BY 2
        """;

    /// <summary>Money at the bank of which nobody knows yet whose it is.</summary>
    public const string PostUnassigned = """
        -- LedgerSql.PostUnassigned
        WITH added AS (
            INSERT INTO ledger_transactions (at, kind, entries, note) VALUES (@at, 'adjustment', 2, @note) RETURNING id
        )
        INSERT INTO ledger_entries (transaction, line, entries, account, amount)
        SELECT d.id, s.line, 2, a.id, s.amount
        FROM added d,
            (VALUES (1, 'bank', @amount::numeric), (2, 'to_be_assigned', -@amount::numeric)) AS s (line, type, amount)
            JOIN ledger_accounts a ON a.type = s.type AND a.email IS NULL
        """;

    /// <summary>Money that came in by one way (@method) went out by another (@by: cash or bank).</summary>
    public const string PostOtherWay = """
        -- LedgerSql.PostOtherWay
        WITH added AS (
            INSERT INTO ledger_transactions (at, kind, entries, note) VALUES (@now, 'adjustment', 2, @note) RETURNING id
        )
        INSERT INTO ledger_entries (transaction, line, entries, account, amount)
        SELECT d.id, s.line, 2, a.id, s.amount
        FROM added d, (VALUES (1, payment_account_type(@method), payment_account_name(@method), @amount::numeric),
                (2, @by, '', -@amount::numeric)) AS s (line, type, name, amount)
            JOIN ledger_accounts a ON a.type = s.type AND a.name = s.name AND a.email IS NULL
        """;
}
