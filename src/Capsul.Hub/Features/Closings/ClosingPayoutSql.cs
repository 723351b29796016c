namespace Capsul.Hub.Features.Closings;

/// <summary>Money of a closed account that leaves.</summary>
/// <param name="Payment">The payment that it is a part of.</param>
/// <param name="ProviderPayment">And its number at <c>/operator/payments</c>.</param>
/// <param name="Counts">What of that payment counts.</param>
/// <param name="State">sent: a provider is asked. open: an operator pays it. done, void.</param>
/// <param name="Late">It arrived after the account was closed.</param>
/// <param name="Contact">Whose it is, while it is known.</param>
public sealed record ClosingPayoutRow(long Id, long Closing, string Email, int Payment, string Method,
    decimal Counts, long? ProviderPayment, decimal Amount, string State, bool Late, DateTime Created, string Contact,
    string PayTo);

/// <summary>Statements over <c>account_payouts</c>.</summary>
public static class ClosingPayoutSql
{
    const string Columns = """
        o.id, o.closing, c.email, o.payment, p.method, CASE WHEN p.invalidated THEN 0 ELSE p.dollars END AS counts,
            p.provider_payment, o.amount, o.state, o.late, o.created, c.contact, c.pay_to
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
    /// What the provider has sent is done. What it refused, or what nobody claimed there, counts again, and with that
    /// the database has made it a payout by hand already (owe_closed_payment): as much of it as is still there.
    /// </summary>
    public const string FollowRefunds = """
        -- ClosingPayoutSql.FollowRefunds
        UPDATE account_payouts o SET state = CASE WHEN r.sent > 0 THEN 'done' ELSE 'void' END,
            done = CASE WHEN r.sent > 0 THEN @now::timestamptz END
        FROM provider_refunds r
        WHERE o.closing = @closing AND o.state = 'sent' AND r.id = o.refund AND r.status IN ('done', 'refused')
        """;

    /// <summary>Whatever changes what counts of it waits.</summary>
    public const string LockProviderPayment = """
        -- ClosingPayoutSql.LockProviderPayment
        SELECT q.id FROM account_payouts o JOIN payments p ON p.id = o.payment
            JOIN provider_payments q ON q.id = p.provider_payment
        WHERE o.id = @id FOR NO KEY UPDATE OF q
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
