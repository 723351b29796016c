namespace Capsul.Hub.Features.Ledger;

/// <summary>A transaction of the ledger that is not complete, or does not balance.</summary>
public sealed record UnbalancedRow(long Id, int Entries, long Found, decimal Sum);

/// <summary>A payment that is not posted as what it is.</summary>
/// <param name="Counts">What it is: 0 when it was invalidated.</param>
/// <param name="Customer">What its account has of it.</param>
/// <param name="Other">What the other side has of it.</param>
public sealed record PaymentCheckRow(int Id, string Email, decimal Counts, decimal Customer, decimal Other);

/// <summary>What an account's totals say, and what its rows come to. Usage is dollars a month times seconds.</summary>
public sealed record AccountCheckRow(string Email, decimal Paid, decimal PaidRows, decimal Posted, decimal PostedRows,
    decimal Charged, decimal ChargedRows, DateTime? Metered, decimal MeteredUsed, decimal UsedRows);

/// <summary>What a provider keeps by its payments, if the ledger says something else.</summary>
public sealed record FeeCheckRow(string Provider, decimal Fees, decimal Posted);

/// <summary>What a provider has paid out, if the ledger says something else.</summary>
public sealed record PayoutCheckRow(string Provider, decimal PaidOut, decimal Posted);

/// <summary>A row of the tax in a payment that is not what it should be.</summary>
/// <param name="Payment">Null: the transaction is not of one.</param>
/// <param name="DueSeller">Null: there should be none. So are the amounts then.</param>
/// <param name="Seller">Null: there is none.</param>
public sealed record TaxCheckRow(long Transaction, int? Payment, long? DueSeller, decimal? DueGross, decimal? DueTax,
    long? Seller, decimal? Gross, decimal? Tax);

/// <summary>The tax in all payments, if an account of the ledger has another sum of it.</summary>
public sealed record TaxSumRow(string Type, decimal Taxes, decimal Posted);

/// <summary>What the solidarity fund holds, if the ledger says something else.</summary>
public sealed record FundCheckRow(decimal Holds, decimal Posted);

/// <summary>The sum of all ledger accounts of a type, and of a provider if it has some.</summary>
public sealed record LedgerSumRow(string Type, string Name, long Accounts, decimal Amount);

public sealed record LedgerCountRow(long Transactions, long Entries);

/// <summary>
/// Statements of <see cref="VerifyLedger"/>. They read everything, and compare it with what triggers keep. Usage counts
/// until the hour that all accounts are posted to.
/// </summary>
public static class VerifyLedgerSql
{
    public const string Unbalanced = """
        -- VerifyLedgerSql.Unbalanced
        SELECT t.id, t.entries, count(e.line) AS found, coalesce(sum(e.amount), 0) AS sum
        FROM ledger_transactions t LEFT JOIN ledger_entries e ON e.transaction = t.id
        GROUP BY t.id HAVING count(e.line) <> t.entries OR coalesce(sum(e.amount), 0) <> 0 ORDER BY t.id
        """;

    /// <summary>Payments whose account, or the other side, does not have what they are.</summary>
    public const string Payments = """
        -- VerifyLedgerSql.Payments
        SELECT * FROM (
            SELECT p.id, p.email, CASE WHEN p.invalidated THEN 0 ELSE p.dollars END AS counts,
                coalesce(s.customer, 0) AS customer, coalesce(s.other, 0) AS other
            FROM payments p LEFT JOIN (
                SELECT t.payment, -sum(e.amount) FILTER (WHERE a.email = q.email) AS customer,
                    sum(e.amount) FILTER (WHERE a.email IS NULL AND a.type = payment_account_type(q.method)
                        AND a.name = payment_account_name(q.method)) AS other
                FROM ledger_transactions t JOIN payments q ON q.id = t.payment
                    JOIN ledger_entries e ON e.transaction = t.id JOIN ledger_accounts a ON a.id = e.account
                GROUP BY t.payment) AS s ON s.payment = p.id) AS p
        WHERE p.counts <> p.customer OR p.counts <> p.other ORDER BY p.id
        """;

    /// <summary>Payments that the ledger has and that are gone.</summary>
    public const string LostPayments = """
        -- VerifyLedgerSql.LostPayments
        SELECT DISTINCT t.payment FROM ledger_transactions t
        WHERE t.payment IS NOT NULL AND NOT EXISTS (SELECT FROM payments p WHERE p.id = t.payment) ORDER BY t.payment
        """;

    /// <summary>All accounts that have anything, by their payments, entries and spans.</summary>
    public const string Accounts = """
        -- VerifyLedgerSql.Accounts
        SELECT c.email, coalesce(t.paid, 0) AS paid, coalesce(p.paid, 0) AS paid_rows, coalesce(t.posted, 0) AS posted,
            coalesce(e.posted, 0) AS posted_rows, coalesce(t.charged, 0) AS charged,
            coalesce(e.charged, 0) AS charged_rows, t.metered, coalesce(t.metered_used, 0) AS metered_used,
            coalesce(u.used, 0) AS used_rows
        FROM accounts c LEFT JOIN account_totals t ON t.email = c.email
            LEFT JOIN (SELECT email, sum(dollars) FILTER (WHERE NOT invalidated) AS paid FROM payments GROUP BY email)
                AS p ON p.email = c.email
            LEFT JOIN (SELECT a.email, -sum(e.amount) AS posted,
                    sum(e.amount) FILTER (WHERE x.kind IN ('usage', 'correction')) AS charged
                FROM ledger_accounts a JOIN ledger_entries e ON e.account = a.id
                    JOIN ledger_transactions x ON x.id = e.transaction
                WHERE a.email IS NOT NULL GROUP BY a.email) AS e ON e.email = c.email
            LEFT JOIN (SELECT s.email, sum(s.dollars_per_month * extract(epoch FROM
                    least(coalesce(upper(s.span), o.until), o.until) - lower(s.span))) AS used
                FROM usage_spans s JOIN (SELECT a.email, greatest(a.metered, m.until) AS until
                        FROM account_totals a, metering m) AS o ON o.email = s.email
                WHERE lower(s.span) < o.until GROUP BY s.email) AS u ON u.email = c.email
        WHERE p.email IS NOT NULL OR e.email IS NOT NULL OR u.email IS NOT NULL OR t.metered IS NOT NULL
            OR t.posted <> 0 OR t.charged <> 0 OR t.paid <> 0
        ORDER BY c.email
        """;

    /// <summary>Providers whose fees are not posted as what they are.</summary>
    public const string Fees = """
        -- VerifyLedgerSql.Fees
        SELECT coalesce(p.provider, e.name) AS provider, coalesce(p.fees, 0) AS fees, coalesce(e.posted, 0) AS posted
        FROM (SELECT provider, sum(fee) AS fees FROM provider_payments GROUP BY provider) AS p
            FULL JOIN (SELECT a.name, sum(e.amount) AS posted
                FROM ledger_accounts a JOIN ledger_entries e ON e.account = a.id
                    JOIN ledger_transactions t ON t.id = e.transaction AND t.kind = 'fee'
                WHERE a.type = 'provider_fees' GROUP BY a.name) AS e ON e.name = p.provider
        WHERE coalesce(p.fees, 0) <> coalesce(e.posted, 0)
        """;

    /// <summary>Providers whose payouts are not posted as what they are.</summary>
    public const string Payouts = """
        -- VerifyLedgerSql.Payouts
        SELECT coalesce(p.provider, e.name) AS provider, coalesce(p.paid_out, 0) AS paid_out,
            coalesce(e.posted, 0) AS posted
        FROM (SELECT provider, sum(amount + fees) FILTER (WHERE NOT returned) AS paid_out
                FROM provider_payouts GROUP BY provider) AS p
            FULL JOIN (SELECT a.name, -sum(e.amount) AS posted
                FROM ledger_accounts a JOIN ledger_entries e ON e.account = a.id
                    JOIN ledger_transactions t ON t.id = e.transaction AND t.kind = 'payout'
                WHERE a.type = 'provider_clearing' GROUP BY a.name) AS e ON e.name = p.provider
        WHERE coalesce(p.paid_out, 0) <> coalesce(e.posted, 0)
        """;

    /// <summary>
    /// Rows of tax that are not what they should be, missing, or of nothing. Net and tax are computed here by another
    /// formula than the database's own.
    /// </summary>
    public const string Taxes = """
        -- VerifyLedgerSql.Taxes
        WITH taxed AS MATERIALIZED (
            SELECT id, dollars, seller_of(id) AS seller FROM payments WHERE payment_is_taxed(method, dollars)
        ), due AS (
            SELECT t.id AS transaction, p.seller, g.gross,
                g.gross - round(g.gross * 100.000000000000000000000000 / (100 + s.tax_percent), c.decimals) AS tax
            FROM taxed p JOIN sellers s ON s.id = p.seller JOIN ledger_transactions t ON t.payment = p.id
                CROSS JOIN LATERAL (SELECT CASE t.kind WHEN 'reversal' THEN -p.dollars ELSE p.dollars END AS gross) AS g
                CROSS JOIN currency c
        )
        SELECT t.id AS transaction, t.payment, d.seller AS due_seller, d.gross AS due_gross, d.tax AS due_tax,
            x.seller, x.gross, x.tax
        FROM due d FULL JOIN payment_taxes x ON x.transaction = d.transaction
            JOIN ledger_transactions t ON t.id = coalesce(d.transaction, x.transaction)
        WHERE d.seller IS DISTINCT FROM x.seller OR d.gross <> x.gross OR d.tax <> x.tax
        ORDER BY t.id
        """;

    /// <summary>The sum of these, if it is not what the ledger has.</summary>
    public const string TaxSums = """
        -- VerifyLedgerSql.TaxSums
        SELECT a.type, x.taxes, coalesce(p.posted, 0) AS posted
        FROM (SELECT coalesce(sum(tax), 0) AS taxes FROM payment_taxes) AS x
            CROSS JOIN (VALUES ('tax_in_prices', 1), ('tax', -1)) AS a (type, way)
            LEFT JOIN (SELECT l.type, sum(e.amount) AS posted
                FROM ledger_transactions t JOIN ledger_entries e ON e.transaction = t.id
                    JOIN ledger_accounts l ON l.id = e.account
                WHERE t.kind = 'tax' GROUP BY l.type) AS p ON p.type = a.type
        WHERE a.way * x.taxes <> coalesce(p.posted, 0)
        """;

    /// <summary>The fund, if it is not what its entries are, or does not hold at all.</summary>
    public const string Fund = """
        -- VerifyLedgerSql.Fund
        SELECT coalesce((SELECT balance FROM solidarity_fund), 0) AS holds, coalesce(-sum(e.amount), 0) AS posted
        FROM ledger_entries e WHERE e.account = 3
        HAVING (SELECT balance FROM solidarity_fund) IS DISTINCT FROM coalesce(-sum(e.amount), 0)
        """;

    public const string Sums = """
        -- VerifyLedgerSql.Sums
        SELECT a.type, a.name, count(*) AS accounts, coalesce(sum(e.amount), 0) AS amount
        FROM ledger_accounts a LEFT JOIN (SELECT account, sum(amount) AS amount FROM ledger_entries GROUP BY account)
            AS e ON e.account = a.id
        GROUP BY a.type, a.name ORDER BY a.type, a.name
        """;

    public const string Counts = """
        -- VerifyLedgerSql.Counts
        SELECT (SELECT count(*) FROM ledger_transactions) AS transactions,
            (SELECT count(*) FROM ledger_entries) AS entries
        """;
}
