namespace Capsul.Hub.Features.Closings;

/// <summary>Money of a closed account that leaves.</summary>
/// <param name="Payment">The payment that it is a part of.</param>
/// <param name="ProviderPayment">And its number at <c>/operator/payments</c>.</param>
/// <param name="State">sent: a provider is asked. open: an operator pays it. done, void.</param>
/// <param name="Late">It arrived after the account was closed.</param>
/// <param name="Contact">Whose it is, while it is known.</param>
public sealed record ClosingPayoutRow(long Id, long Closing, string Email, int Payment, string Method,
    long? ProviderPayment, decimal Amount, string State, bool Late, DateTime Created, string Contact, string PayTo);

/// <summary>Statements over <c>account_payouts</c>.</summary>
public static class ClosingPayoutSql
{
    const string Columns = """
        o.id, o.closing, c.email, o.payment, p.method, p.provider_payment, o.amount, o.state, o.late, o.created,
            c.contact, c.pay_to
        """;

    const string Joined =
        "account_payouts o JOIN account_closings c ON c.id = o.closing JOIN payments p ON p.id = o.payment";

    public const string Add = """
        -- ClosingPayoutSql.Add
        INSERT INTO account_payouts (closing, payment, refund, amount, state, created)
        VALUES (@closing, @payment, @refund, @amount, CASE WHEN @refund::bigint IS NULL THEN 'open' ELSE 'sent' END,
            @now)
        """;

    public const string Find = $"""
        -- ClosingPayoutSql.Find
        SELECT {Columns} FROM {Joined} WHERE o.id = @id
        """;

    /// <summary>What an operator has to pay, the oldest first; a page begins after @after.</summary>
    public const string ListToDo = $"""
        -- ClosingPayoutSql.ListToDo
        SELECT {Columns} FROM {Joined} WHERE o.state IN ('sent', 'open') AND o.id > @after ORDER BY o.id LIMIT @limit
        """;

    /// <summary>
    /// What the provider has sent is done. What it refused, or what nobody claimed there, counts again, in the row of
    /// payments that counts now, and is paid by hand: as much of it as is still there.
    /// </summary>
    public const string FollowRefunds = """
        -- ClosingPayoutSql.FollowRefunds
        UPDATE account_payouts o SET state = n.state, done = CASE n.state WHEN 'done' THEN @now::timestamptz END,
            payment = CASE n.state WHEN 'done' THEN o.payment ELSE coalesce(n.payment, o.payment) END,
            amount = CASE n.state WHEN 'open' THEN n.owed ELSE o.amount END
        FROM (SELECT q.id, p.id AS payment, w.owed, CASE WHEN r.sent >= r.amount THEN 'done' WHEN w.owed > 0 THEN 'open'
                WHEN r.sent > 0 THEN 'done' ELSE 'void' END AS state
            FROM account_payouts q JOIN provider_refunds r ON r.id = q.refund JOIN payments was ON was.id = q.payment
                LEFT JOIN payments p ON p.provider_payment = r.payment AND NOT p.invalidated
                CROSS JOIN LATERAL (SELECT q.amount - was.dollars + coalesce(p.dollars, 0) AS owed) AS w
            WHERE q.closing = @closing AND q.state = 'sent' AND r.status IN ('done', 'refused')) AS n
        WHERE o.id = n.id
        """;

    public const string Lock = """
        -- ClosingPayoutSql.Lock
        SELECT state FROM account_payouts WHERE id = @id FOR UPDATE
        """;

    public const string SetDone = """
        -- ClosingPayoutSql.SetDone
        UPDATE account_payouts SET state = 'done', done = @now, actor = @actor, note = @note
        WHERE id = @id AND state = 'open'
        """;
}
