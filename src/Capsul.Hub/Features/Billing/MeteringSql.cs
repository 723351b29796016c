namespace Capsul.Hub.Features.Billing;

/// <summary>An account whose hour is to be posted. Usage is exact: dollars a month times seconds.</summary>
/// <param name="Charged">What has been posted, in whole units.</param>
/// <param name="Before">Usage until the hour begins.</param>
/// <param name="Until">Usage until it ends.</param>
public sealed record MeteredRow(string Email, decimal Charged, decimal Before, decimal Until);

/// <summary>
/// Statements of metering. They read an account's usage until an hour from its totals (<see cref="BillingSql"/>) and
/// the spans that end later, so an hour costs the same whatever the age of an account.
/// </summary>
public static class MeteringSql
{
    /// <summary>Until when usage is posted; null before the first time.</summary>
    public const string Until = """
        -- MeteringSql.Until
        SELECT until FROM metering
        """;

    /// <summary>When the first usage began, if there is any.</summary>
    public const string First = """
        -- MeteringSql.First
        SELECT min(lower(span)) FROM usage_spans
        """;

    /// <summary>All accounts are posted until @hour.</summary>
    public const string Finish = """
        -- MeteringSql.Finish
        UPDATE metering SET until = @hour WHERE coalesce(until < @hour, TRUE)
        """;

    /// <summary>
    /// Locks the totals of the next accounts that used something since they were posted, or whose spans have changed.
    /// </summary>
    public const string LockNext = """
        -- MeteringSql.LockNext
        SELECT email FROM account_totals
        WHERE email > @after AND coalesce(metered < @hour, TRUE) AND (open_rate <> 0 OR used <> metered_used)
        ORDER BY email LIMIT @limit FOR NO KEY UPDATE
        """;

    /// <summary>The facts of locked accounts for the hour from @before to @hour.</summary>
    public const string Facts = """
        -- MeteringSql.Facts
        SELECT t.email, t.charged,
            t.used + t.open_rate * extract(epoch FROM @before::timestamptz) - t.open_start - a.before AS before,
            t.used + t.open_rate * extract(epoch FROM @hour::timestamptz) - t.open_start - a.until AS until
        FROM account_totals t, LATERAL (
            SELECT coalesce(sum(u.dollars_per_month * CASE
                    WHEN upper_inf(u.span) THEN extract(epoch FROM @before::timestamptz - lower(u.span))
                    ELSE extract(epoch FROM upper(u.span) - greatest(lower(u.span), @before)) END), 0) AS before,
                coalesce(sum(u.dollars_per_month * CASE
                    WHEN upper_inf(u.span) THEN extract(epoch FROM @hour::timestamptz - lower(u.span))
                    ELSE extract(epoch FROM upper(u.span) - greatest(lower(u.span), @hour)) END)
                    FILTER (WHERE coalesce(upper(u.span), lower(u.span)) > @hour), 0) AS until
            FROM usage_spans u WHERE u.email = t.email AND coalesce(upper(u.span), lower(u.span)) > @before) AS a
        WHERE t.email = ANY(@emails) ORDER BY t.email
        """;

    /// <summary>Locks the totals of accounts, in the usual order.</summary>
    public const string LockThese = """
        -- MeteringSql.LockThese
        SELECT email FROM account_totals WHERE email = ANY(@emails) ORDER BY email FOR NO KEY UPDATE
        """;

    /// <summary>Recomputes what locked totals have of the ledger; returns how many were wrong.</summary>
    public const string CorrectPosted = """
        -- MeteringSql.CorrectPosted
        WITH corrected AS (
            UPDATE account_totals t SET posted = s.posted, charged = s.charged
            FROM (SELECT o.email, coalesce(-sum(e.amount), 0) AS posted,
                    coalesce(sum(e.amount) FILTER (WHERE e.hour IS NOT NULL), 0) AS charged
                FROM account_totals o LEFT JOIN ledger_accounts a ON a.email = o.email
                    LEFT JOIN ledger_entries e ON e.account = a.id
                WHERE o.email = ANY(@emails) GROUP BY o.email) AS s
            WHERE t.email = s.email AND (t.posted, t.charged) IS DISTINCT FROM (s.posted, s.charged) RETURNING 1)
        SELECT count(*)::integer FROM corrected
        """;

    /// <summary>These accounts are posted until @hour.</summary>
    public const string Record = """
        -- MeteringSql.Record
        UPDATE account_totals t SET metered = @hour, metered_used = s.used
        FROM unnest(@emails::text[], @used::numeric[]) AS s (email, used) WHERE t.email = s.email
        """;
}
