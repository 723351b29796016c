using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Ledger;

/// <summary>An entry of one ledger account, and where it comes from.</summary>
/// <param name="Amount">Debits are positive: what a customer has is negative.</param>
/// <param name="Method">Of the payment, if it is one's.</param>
/// <param name="Hour">End of the hour whose usage it is.</param>
public sealed record LedgerEntryRow(long Transaction, DateTime At, DateTime Posted, string Kind, int? Payment,
    string? Method, string Note, decimal Amount, DateTime? Hour)
{
    public string What => Kind switch
    {
        "payment" => $"payment {Payment}, {Method}",
        "reversal" => $"payment {Payment} invalidated",
        "correction" => "correction of earlier usage",
        _ => Note.Length > 0 ? Note : Kind,
    };
}

/// <summary>A ledger account in the operator's list.</summary>
/// <param name="Posted">A customer's balance; null for the others, whose sums are known by the hour.</param>
public sealed record LedgerAccountLineRow(long Id, string Type, string Name, string? Email, decimal? Posted);

/// <summary>A payment, or the usage of one day, as its owner sees it.</summary>
/// <param name="Day">Of the usage; its beginning.</param>
/// <param name="Amount">What it did to the balance.</param>
/// <param name="Oldest">The oldest transaction in it, after which the next page begins.</param>
public sealed record StatementLineRow(string Kind, int? Payment, string? Method, string Note, DateTime Day, DateTime At,
    decimal Amount, long Oldest, long Entries);

/// <summary>The posted balance, and until when usage is in it.</summary>
public sealed record PostedRow(decimal Posted, DateTime? Until);

/// <summary>Charged time that is behind a line of a statement, cut to the time that the line is for.</summary>
/// <param name="Dollars">Of that time, exactly.</param>
/// <param name="Extra">Of which kind of extra of the VM; empty: of the VM itself.</param>
public sealed record StatementSpanRow(
    string Vm, string Name, DateTime From, DateTime? To, decimal DollarsPerMonth, decimal Dollars, string Extra);

/// <summary>An operation of a VM in the time that a line is for.</summary>
public sealed record StatementOperationRow(
    long Id, string Vm, string Name, string Kind, string Status, DateTime Created);

/// <summary>Statements of the pages that show the ledger.</summary>
public static class LedgerPageSql
{
    public const string FindAccount = """
        -- LedgerPageSql.FindAccount
        SELECT id, type, name, email FROM ledger_accounts WHERE id = @id
        """;

    public const string FindCustomer = """
        -- LedgerPageSql.FindCustomer
        SELECT id, type, name, email FROM ledger_accounts WHERE email = @email
        """;

    /// <summary>The installation's own accounts, then customers whose email address contains @search.</summary>
    public const string ListAccounts = """
        -- LedgerPageSql.ListAccounts
        SELECT a.id, a.type, a.name, a.email, t.posted
        FROM ledger_accounts a LEFT JOIN account_totals t ON t.email = a.email
        WHERE a.id > @after AND (@search = '' OR strpos(a.email, @search) > 0) ORDER BY a.id LIMIT @limit
        """;

    /// <summary>
    /// Newest first; a page begins after (older than) the transaction @after, or with the newest if that is 0.
    /// </summary>
    public const string ListEntries = """
        -- LedgerPageSql.ListEntries
        SELECT t.id AS transaction, t.at, t.posted, t.kind, t.payment, p.method, t.note, e.amount, e.hour
        FROM ledger_entries e JOIN ledger_transactions t ON t.id = e.transaction
            LEFT JOIN payments p ON p.id = t.payment
        WHERE e.account = @account AND e.transaction < coalesce(nullif(@after, 0), 9223372036854775807)
        ORDER BY e.transaction DESC LIMIT @limit
        """;

    /// <summary>The posted balance of an account; one row, also when it has none.</summary>
    public const string Posted = """
        -- LedgerPageSql.Posted
        SELECT coalesce((SELECT posted FROM account_totals WHERE email = @email), 0) AS posted, m.until FROM metering m
        """;

    /// <summary>
    /// What the newest @limit entries come to, usage by the day. A page begins after (older than) the transaction
    /// @after, or with the newest if that is 0, and may end within a day.
    /// </summary>
    public const string Statement = """
        -- LedgerPageSql.Statement
        SELECT t.kind, t.payment, p.method, t.note,
            date_trunc('day', CASE WHEN t.payment IS NULL THEN t.at - interval '1 microsecond' ELSE t.at END, 'UTC')
                AS day, max(t.at) AS at, -sum(n.amount) AS amount, min(t.id) AS oldest, count(*) AS entries
        FROM (SELECT e.transaction, e.amount FROM ledger_entries e
                WHERE e.account = (SELECT id FROM ledger_accounts WHERE email = @email)
                    AND e.transaction < coalesce(nullif(@after, 0), 9223372036854775807)
                ORDER BY e.transaction DESC LIMIT @limit) AS n
            JOIN ledger_transactions t ON t.id = n.transaction LEFT JOIN payments p ON p.id = t.payment
        GROUP BY t.kind, t.payment, p.method, t.note, day, CASE WHEN t.payment IS NOT NULL THEN t.id END
        ORDER BY min(t.id) DESC
        """;

    /// <summary>
    /// An account's charged time from @from to @until. Found by VM, of those that existed then; spans of a VM
    /// itself do not overlap, so those that end first begin first.
    /// </summary>
    public const string Spans = $"""
        -- LedgerPageSql.Spans
        SELECT v.id AS vm, v.name, greatest(lower(u.span), @from) AS from,
            CASE WHEN NOT upper_inf(u.span) OR @until <= @now THEN least(coalesce(upper(u.span), @until), @until) END
                AS to,
            u.dollars_per_month, u.dollars_per_month * extract(epoch FROM
                greatest(least(coalesce(upper(u.span), @now), @until), lower(u.span), @from)
                - greatest(lower(u.span), @from)) / ({Prices.DaysPerMonthText} * 86400) AS dollars,
            coalesce((SELECT x.kind FROM vm_extras x WHERE x.id = u.extra), '') AS extra
        FROM vms v, LATERAL (
                SELECT s.span, s.extra, s.dollars_per_month FROM usage_spans s
                WHERE s.vm = v.id AND s.email = @email AND s.span && tstzrange(@from, @until)
                    AND coalesce(upper(s.span), 'infinity'::timestamptz) > @from
                ORDER BY coalesce(upper(s.span), 'infinity'::timestamptz) LIMIT @limit) AS u
        WHERE v.email = @email AND v.created < @until
        ORDER BY lower(u.span), v.id, u.extra NULLS FIRST LIMIT @limit
        """;

    public const string Operations = """
        -- LedgerPageSql.Operations
        SELECT o.id, v.id AS vm, v.name, o.kind, o.status, o.created
        FROM vms v JOIN operations o ON o.vm = v.id AND o.created >= @from AND o.created < @until
        WHERE v.email = @email AND v.created < @until AND coalesce(v.deleted >= @from, TRUE)
        ORDER BY o.created, o.id LIMIT @limit
        """;
}
