namespace Capsul.Hub.Features.Closings;

/// <summary>An account that is being closed, or was.</summary>
/// <param name="Email">Its pseudonym, after it was settled.</param>
/// <param name="Due">Until then it may be reopened.</param>
/// <param name="Money">One of <see cref="ClosingMoney"/>.</param>
/// <param name="Contact">Whose money is still to be paid.</param>
/// <param name="Disputed">A payment of it is under dispute: its money may come back, or not.</param>
public sealed record ClosingRow(long Id, string Email, string Actor, string Reason, DateTime Asked, DateTime Due,
    string Money, string PayTo, string Contact, DateTime? Settled, DateTime? Finished, bool Disputed)
{
    /// <summary>In a few words.</summary>
    public string State => this switch
    {
        { Finished: not null } => "closed",
        { Settled: not null, Disputed: true } => "closed, a dispute is to be decided",
        { Settled: not null } => "closed, money to be paid",
        { Disputed: true } => "waits until a dispute of a payment is decided",
        _ => "may be reopened",
    };
}

/// <summary>A payment of an account that counts.</summary>
/// <param name="Refundable">What a provider could send back of it; 0: none can.</param>
public sealed record SettlePaymentRow(
    int Id, decimal Dollars, string Method, long? ProviderPayment, decimal Refundable);

/// <summary>What an account has, when it is settled.</summary>
/// <param name="Used">Of all closed spans: dollars a month times seconds.</param>
/// <param name="OpenSpans">Of which there must be none.</param>
/// <param name="Disputes">That are not decided; there must be none: nobody knows yet whose that money is.</param>
public sealed record SettleTotalsRow(decimal Paid, decimal Used, long OpenSpans, long Alive, long Disputes);

/// <summary>Statements over <c>account_closings</c>.</summary>
public static class ClosingSql
{
    const string Columns = """
        c.id, c.email, c.actor, c.reason, c.asked, c.due, c.money, c.pay_to, c.contact, c.settled, c.finished,
            EXISTS (SELECT FROM provider_payments q WHERE q.email = c.email AND q.dispute = 'open') AS disputed
        """;

    /// <summary>Locked as for a change of its name, which it gets when it is settled.</summary>
    public const string LockAccount = """
        -- ClosingSql.LockAccount
        SELECT email FROM accounts WHERE email = @email FOR UPDATE
        """;

    public const string Add = """
        -- ClosingSql.Add
        INSERT INTO account_closings (email, actor, reason, asked, due, money, pay_to)
        VALUES (@email, @actor, @reason, @now, @due, @money, @payTo) RETURNING id
        """;

    /// <summary>The one that is going on, or is done.</summary>
    public const string FindOf = $"""
        -- ClosingSql.FindOf
        SELECT {Columns} FROM account_closings c WHERE c.email = @email AND c.reopened IS NULL
        """;

    public const string Find = $"""
        -- ClosingSql.Find
        SELECT {Columns} FROM account_closings c WHERE c.id = @id AND c.reopened IS NULL
        """;

    /// <summary>Those that an operator has to know of, the oldest first; a page begins after @after.</summary>
    public const string ListOpen = $"""
        -- ClosingSql.ListOpen
        SELECT {Columns} FROM account_closings c
        WHERE c.reopened IS NULL AND c.finished IS NULL AND c.id > @after ORDER BY c.id LIMIT @limit
        """;

    public const string Reopen = """
        -- ClosingSql.Reopen
        UPDATE account_closings SET reopened = @now WHERE id = @id AND settled IS NULL AND reopened IS NULL
        """;

    /// <summary>Where there is something to do; a page begins after @after.</summary>
    public const string Due = $"""
        -- ClosingSql.Due
        SELECT {Columns} FROM account_closings c
        WHERE c.reopened IS NULL AND c.finished IS NULL AND c.due <= @now AND c.id > @after
        ORDER BY c.id LIMIT @limit
        """;

    public const string AliveVms = """
        -- ClosingSql.AliveVms
        SELECT id FROM vms WHERE email = @email AND deleted IS NULL ORDER BY id
        """;

    /// <summary>Whoever asks a provider about them writes that down before, or afterwards.</summary>
    public const string LockPayments = """
        -- ClosingSql.LockPayments
        SELECT id FROM provider_payments WHERE email = @email ORDER BY id FOR NO KEY UPDATE
        """;

    /// <summary>The totals are locked first.</summary>
    public const string Totals = """
        -- ClosingSql.Totals
        SELECT t.paid, t.used, (SELECT count(*) FROM usage_spans u WHERE u.email = t.email AND upper_inf(u.span))
            AS open_spans, t.vms AS alive, (SELECT count(*) FROM provider_payments q
                WHERE q.email = t.email AND q.dispute = 'open') AS disputes
        FROM account_totals t WHERE t.email = @email
        """;

    /// <summary>The newest first. Money under dispute goes back by that, or not at all.</summary>
    public const string Payments = """
        -- ClosingSql.Payments
        SELECT p.id, p.dollars, p.method, p.provider_payment, CASE WHEN q.provider = ANY(@refunding)
                AND q.charge IS NOT NULL AND q.dispute <> 'open'
            THEN greatest(0, q.received - q.refunded - q.held - coalesce((SELECT sum(r.amount - r.sent)
                FROM provider_refunds r WHERE r.payment = q.id AND r.status IN ('open', 'offered')), 0)) ELSE 0
            END AS refundable
        FROM payments p LEFT JOIN provider_payments q ON q.id = p.provider_payment
        WHERE p.email = @email AND NOT p.invalidated ORDER BY p.id DESC
        """;

    public const string Settle = """
        -- ClosingSql.Settle
        UPDATE account_closings SET settled = @now, contact = @contact, forget = @forget
        WHERE id = @id AND settled IS NULL AND reopened IS NULL
        """;

    /// <summary>All that is kept of the person, but what is in the books.</summary>
    public const string ForgetPerson = """
        -- ClosingSql.ForgetPerson
        SELECT forget_person(@email, @pseudonym)::text
        """;

    /// <summary>Nothing is to be paid any more, and no dispute may change that.</summary>
    public const string Finish = """
        -- ClosingSql.Finish
        UPDATE account_closings c SET finished = @now, contact = '', pay_to = ''
        WHERE c.id = @id AND c.settled IS NOT NULL AND c.finished IS NULL AND NOT EXISTS (
            SELECT FROM account_payouts o WHERE o.closing = c.id AND NOT o.late AND o.state IN ('sent', 'open'))
            AND NOT EXISTS (SELECT FROM provider_payments q WHERE q.email = c.email AND q.dispute = 'open')
        """;

    /// <summary>Closings whose receipts may lose their names.</summary>
    public const string ToForget = """
        -- ClosingSql.ToForget
        SELECT id FROM account_closings WHERE settled IS NOT NULL AND forgotten IS NULL AND forget <= @now
        ORDER BY id LIMIT @limit
        """;

    public const string ForgetReceipts = """
        -- ClosingSql.ForgetReceipts
        SELECT forget_receipts(@id, @now)::text
        """;
}

/// <summary>What becomes of the money that is left in a closed account.</summary>
public static class ClosingMoney
{
    /// <summary>By the way it came; what cannot, is paid by hand.</summary>
    public const string Back = "back";

    /// <summary>All of it is paid by hand.</summary>
    public const string Hand = "hand";

    /// <summary>To the solidarity fund.</summary>
    public const string Fund = "fund";
}
