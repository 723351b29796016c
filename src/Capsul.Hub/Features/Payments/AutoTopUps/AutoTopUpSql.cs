using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>What a person has set, and how it goes.</summary>
/// <param name="Threshold">Below this balance the card is charged.</param>
/// <param name="Cap">The most in a calendar month, in UTC.</param>
/// <param name="OffBecause">One of <see cref="OffReason"/>; empty: it is on.</param>
/// <param name="Declines">Charges in a row that were declined.</param>
/// <param name="Decline">Why the last one was, in the provider's code.</param>
/// <param name="Charged">This month.</param>
/// <param name="IsOpen">A charge is going on.</param>
public sealed record AutoTopUpRow(string Email, decimal Threshold, decimal Amount, decimal Cap, bool Enabled,
    string OffBecause, int Declines, string Decline, DateTime? PausedUntil, DateTime? LastCharge, decimal Charged,
    bool IsOpen)
{
    /// <summary>There can be no other charge this month.</summary>
    public bool IsCapReached => Charged + Amount > Cap;
}

/// <summary>What decides whether a card is charged now. Read under the locks of the account.</summary>
/// <param name="Card">The saved card; null: there is none.</param>
/// <param name="IsClosing">The account is being closed, or was.</param>
/// <param name="IsPaused">A backup was restored, or the database rebuilt: payments may be missing.</param>
/// <param name="BegunByHand">The person has just begun a payment of their own.</param>
public sealed record ChargeFactsRow(decimal Threshold, decimal Amount, decimal Cap, bool Enabled,
    DateTime? PausedUntil, DateTime? LastCharge, long? Card, string? Provider, decimal Paid, decimal Used,
    decimal Charged, bool IsOpen, bool IsClosing, bool IsPaused, bool BegunByHand);

/// <summary>Statements over <c>auto_top_ups</c>.</summary>
public static class AutoTopUpSql
{
    const string OpenCharge = """
        EXISTS (SELECT FROM provider_payments p WHERE p.email = a.email AND p.automatic
            AND p.status IN ('new', 'pending'))
        """;

    const string Columns = $"""
        a.email, a.threshold, a.amount, a.cap, a.enabled, a.off_because, a.declines, a.decline, a.paused_until,
            a.last_charge, charged_in_month(a.email, @now) AS charged, {OpenCharge} AS is_open
        """;

    public const string Find = $"""
        -- AutoTopUpSql.Find
        SELECT {Columns} FROM auto_top_ups a WHERE a.email = @email
        """;

    /// <summary>For operators; a page begins after @after.</summary>
    public const string List = $"""
        -- AutoTopUpSql.List
        SELECT {Columns} FROM auto_top_ups a WHERE a.email > @after ORDER BY a.email LIMIT @limit
        """;

    public const string IsOn = """
        -- AutoTopUpSql.IsOn
        SELECT EXISTS (SELECT FROM auto_top_ups WHERE email = @email AND enabled)
        """;

    public const string Lock = """
        -- AutoTopUpSql.Lock
        SELECT email FROM auto_top_ups WHERE email = @email FOR NO KEY UPDATE
        """;

    /// <summary>Turned on as the person wants it; what was declined before counts no longer.</summary>
    public const string Set = """
        -- AutoTopUpSql.Set
        INSERT INTO auto_top_ups (email, threshold, amount, cap, enabled, changed)
        VALUES (@email, @threshold, @amount, @cap, TRUE, @now)
        ON CONFLICT (email) DO UPDATE SET threshold = @threshold, amount = @amount, cap = @cap, enabled = TRUE,
            off_because = '', declines = 0, decline = '', paused_until = NULL, changed = @now
        """;

    public const string TurnOff = """
        -- AutoTopUpSql.TurnOff
        UPDATE auto_top_ups SET enabled = FALSE, off_because = @because, changed = @now
        WHERE email = @email AND enabled
        """;

    /// <summary>Another card: what was declined before was the old one.</summary>
    public const string StartOver = """
        -- AutoTopUpSql.StartOver
        UPDATE auto_top_ups SET declines = 0, decline = '', paused_until = NULL WHERE email = @email
        """;

    public const string RecordDecline = """
        -- AutoTopUpSql.RecordDecline
        UPDATE auto_top_ups SET declines = declines + 1, decline = @decline, paused_until = @pausedUntil
        WHERE email = @email
        """;

    /// <summary>
    /// Accounts below their threshold whose card may be charged now; a page begins after @after. Only accounts that
    /// have turned it on are read.
    /// </summary>
    public const string Due = $"""
        -- AutoTopUpSql.Due
        SELECT a.email
        FROM auto_top_ups a JOIN saved_cards c ON c.email = a.email AND c.status = 'saved'
            JOIN account_totals t ON t.email = a.email
            CROSS JOIN LATERAL (SELECT {BillingSql.BalanceColumns}) AS b
        WHERE a.enabled AND a.email > @after AND c.provider = ANY(@providers)
            AND coalesce(a.paused_until <= @now, TRUE) AND coalesce(a.last_charge <= @lastBefore, TRUE)
            AND b.paid - b.used < a.threshold AND NOT {OpenCharge}
            AND charged_in_month(a.email, @now) + a.amount <= a.cap
        ORDER BY a.email LIMIT @limit
        """;

    /// <summary>One account, under its locks.</summary>
    public const string Facts = $"""
        -- AutoTopUpSql.Facts
        SELECT a.threshold, a.amount, a.cap, a.enabled, a.paused_until, a.last_charge, c.id AS card, c.provider,
            b.paid, b.used, charged_in_month(a.email, @now) AS charged, {OpenCharge} AS is_open,
            EXISTS (SELECT FROM account_closings l WHERE l.email = a.email AND l.reopened IS NULL) AS is_closing,
            EXISTS (SELECT FROM dunning_clock k WHERE k.lost_payments) AS is_paused,
            EXISTS (SELECT FROM provider_payments p WHERE p.email = a.email AND NOT p.automatic
                AND p.friend_link IS NULL AND p.status IN ('new', 'open') AND p.created > @begunSince)
                AS begun_by_hand
        FROM auto_top_ups a JOIN account_totals t ON t.email = a.email
            LEFT JOIN saved_cards c ON c.email = a.email AND c.status = 'saved'
            CROSS JOIN LATERAL (SELECT {BillingSql.BalanceColumns}) AS b
        WHERE a.email = @email
        """;
}
