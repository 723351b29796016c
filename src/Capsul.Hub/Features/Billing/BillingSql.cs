namespace Capsul.Hub.Features.Billing;

/// <summary>An account's balance and spending. Dollars; the sums are not rounded.</summary>
/// <param name="Paid">Payments that count.</param>
/// <param name="Used">Usage until the given time.</param>
/// <param name="DollarsPerMonth">Price of the VMs that exist now, and of their extras.</param>
public sealed record BalanceRow(decimal Paid, decimal Used, decimal DollarsPerMonth)
{
    public decimal Balance => Paid - Used;

    /// <summary>How many days the balance lasts at the current spending; null when nothing is spent.</summary>
    public decimal? RunwayDays => DollarsPerMonth == 0 ? null : Math.Max(0, Balance / Prices.PerDay(DollarsPerMonth));
}

public sealed record VmCostRow(string Vm, string Name, DateTime? Deleted, decimal DollarsPerMonth, decimal Used);

/// <summary>
/// Statements on balances and costs. They read <c>account_totals</c> and <c>vm_totals</c>, which triggers keep, so a
/// balance costs the same at any age; only <see cref="CorrectAccounts"/> and its companions sum up rows. Usage is by
/// the second, at the price copied into each span; a month is <see cref="Prices.DaysPerMonthText"/> days.
/// </summary>
public static class BillingSql
{
    const string SecondsPerMonth = $"({Prices.DaysPerMonthText} * 86400)";

    /// <summary>Seconds since 1970, exactly.</summary>
    const string Now = "extract(epoch FROM @now::timestamptz)";

    /// <summary>
    /// What the totals <c>t</c> of an account contain and @now has not reached: another Hub's clock may be ahead. A
    /// span that has not begun counts as nothing, one that has not ended until @now. Usually there are no such rows.
    /// </summary>
    const string AccountAhead = $"""
        (SELECT coalesce(sum(u.dollars_per_month * CASE
                WHEN upper_inf(u.span) THEN {Now} - extract(epoch FROM lower(u.span))
                ELSE extract(epoch FROM upper(u.span)) - extract(epoch FROM greatest(lower(u.span), @now)) END), 0)
            FROM usage_spans u WHERE u.email = t.email AND coalesce(upper(u.span), lower(u.span)) > @now)
        """;

    /// <summary>
    /// What is to be added to the closed spans of the VM <c>t.vm</c>: the open one until @now, less what @now has not
    /// reached.
    /// </summary>
    const string VmOpen = $"""
        (SELECT coalesce(sum(u.dollars_per_month * CASE
                WHEN upper_inf(u.span) THEN greatest(0, {Now} - extract(epoch FROM lower(u.span)))
                ELSE extract(epoch FROM greatest(lower(u.span), @now)) - extract(epoch FROM upper(u.span)) END), 0)
            FROM usage_spans u WHERE u.vm = t.vm AND u.email = t.email
                AND coalesce(upper(u.span), 'infinity'::timestamptz) > @now)
        """;

    /// <summary>The columns of a <see cref="BalanceRow"/>, from the totals <c>t</c> until @now.</summary>
    internal const string BalanceColumns = $"""
        coalesce(t.paid, 0) AS paid,
            coalesce((t.used + t.open_rate * {Now} - t.open_start - {AccountAhead}) / {SecondsPerMonth}, 0) AS used,
            coalesce(t.dollars_per_month, 0) AS dollars_per_month
        """;

    /// <summary>
    /// The usage of the account of the totals <c>t</c> from @month until @now: of what runs, and of what has ended or
    /// begun since.
    /// </summary>
    internal const string MonthUsed = $"""
        coalesce((t.open_rate * extract(epoch FROM @now::timestamptz - @month::timestamptz)
            + (SELECT coalesce(sum(u.dollars_per_month * CASE
                    WHEN upper_inf(u.span) THEN extract(epoch FROM @month::timestamptz - lower(u.span))
                    ELSE extract(epoch FROM upper(u.span) - greatest(lower(u.span), @month)) END), 0)
                FROM usage_spans u WHERE u.email = t.email AND coalesce(upper(u.span), lower(u.span)) > @month)
            - {AccountAhead}) / {SecondsPerMonth}, 0)
        """;

    /// <summary>One row, also for an account that does not exist.</summary>
    public const string Balance = $"""
        -- BillingSql.Balance
        SELECT {BalanceColumns}
        FROM (VALUES (1)) AS one (n) LEFT JOIN account_totals t ON t.email = @email
        """;

    /// <summary>How many VMs an account has.</summary>
    public const string CountAlive = """
        -- BillingSql.CountAlive
        SELECT coalesce((SELECT vms FROM account_totals WHERE email = @email), 0)::integer
        """;

    /// <summary>Number of all payments.</summary>
    public const string CountPayments = """
        -- BillingSql.CountPayments
        SELECT coalesce((SELECT payments FROM account_totals WHERE email = @email), 0)
        """;

    /// <summary>
    /// A value that differs after every change visible in the list of an account's VMs.
    /// </summary>
    public const string Changes = """
        -- BillingSql.Changes
        SELECT coalesce((SELECT changes FROM account_totals WHERE email = @email), 0)::text
        """;

    const string Matches = "(@search = '' OR strpos(v.name, @search) > 0 OR strpos(v.id, @search) > 0)";

    /// <summary>
    /// Cost to date of each VM of an account whose name or ID contains @search, newest first. A page begins after
    /// (older than) the VM @after, or with the newest if that is blank; IS TRUE, so that it is found by its ID.
    /// </summary>
    public const string CostOfVms = $"""
        -- BillingSql.CostOfVms
        WITH shown AS MATERIALIZED (
            SELECT v.id, v.name, v.created, v.deleted, v.dollars_per_month + v.extras_per_month AS dollars_per_month
            FROM vms v WHERE v.email = @email AND {Matches}
                AND (v.created, v.id) < (SELECT 'infinity'::timestamptz, '' WHERE @after = ''
                    UNION ALL SELECT created, id FROM vms WHERE id = @after AND (email = @email) IS TRUE)
                AND (SELECT t.spans FROM vm_totals t WHERE t.vm = v.id AND t.email = v.email) > 0
            ORDER BY v.created DESC, v.id DESC LIMIT @limit)
        SELECT s.id AS vm, s.name, s.deleted, s.dollars_per_month,
            (SELECT t.used + {VmOpen} FROM vm_totals t WHERE t.vm = s.id AND t.email = @email) / {SecondsPerMonth}
                AS used
        FROM shown s ORDER BY s.created DESC, s.id DESC
        """;

    public const string CountCosts = $"""
        -- BillingSql.CountCosts
        SELECT CASE WHEN @search = ''
            THEN coalesce((SELECT charged_vms FROM account_totals WHERE email = @email), 0)
            ELSE (SELECT count(*) FROM vms v JOIN vm_totals t ON t.vm = v.id AND t.email = v.email
                WHERE v.email = @email AND t.spans > 0 AND {Matches}) END
        """;

    /// <summary>Cost to date of one VM.</summary>
    public const string CostOfVm = $"""
        -- BillingSql.CostOfVm
        SELECT coalesce(sum(t.used + {VmOpen}), 0) / {SecondsPerMonth} FROM vm_totals t WHERE t.vm = @vm
        """;

    /// <summary>
    /// Accounts without totals get some, which are then corrected. What was posted is taken over at once, because
    /// metering would post it again.
    /// </summary>
    public const string AddMissing = """
        -- BillingSql.AddMissing
        INSERT INTO account_totals (email, posted, charged)
        SELECT a.email, e.posted, e.charged
        FROM (SELECT email FROM accounts c WHERE NOT EXISTS (SELECT FROM account_totals t WHERE t.email = c.email)
                ORDER BY email LIMIT @limit) AS a, LATERAL (
            SELECT coalesce(-sum(e.amount), 0) AS posted,
                coalesce(sum(e.amount) FILTER (WHERE e.hour IS NOT NULL), 0) AS charged
            FROM ledger_accounts l JOIN ledger_entries e ON e.account = l.id WHERE l.email = a.email) AS e
        ORDER BY a.email ON CONFLICT DO NOTHING
        """;

    /// <summary>
    /// Locks the next totals: whatever has been counted in them is committed, and visible to the next statement.
    /// </summary>
    public const string LockNext = """
        -- BillingSql.LockNext
        SELECT email FROM account_totals WHERE email > @after ORDER BY email LIMIT @limit FOR NO KEY UPDATE
        """;

    /// <summary>Recomputes the totals of VMs whose account's totals are locked; returns how many were wrong.</summary>
    public const string CorrectVms = """
        -- BillingSql.CorrectVms
        WITH sums AS (
            SELECT u.vm, u.email, count(*) AS spans,
                coalesce(sum(u.dollars_per_month * (extract(epoch FROM upper(u.span))
                    - extract(epoch FROM lower(u.span)))) FILTER (WHERE NOT upper_inf(u.span)), 0) AS used
            FROM usage_spans u WHERE u.email = ANY(@emails) GROUP BY u.vm, u.email
        ), wrong AS (
            SELECT coalesce(s.vm, t.vm) AS vm, coalesce(s.email, t.email) AS email, coalesce(s.used, 0) AS used,
                coalesce(s.spans, 0) AS spans
            FROM sums s FULL JOIN (SELECT vm, email, used, spans FROM vm_totals WHERE email = ANY(@emails)) AS t
                ON t.vm = s.vm AND t.email = s.email
            WHERE (coalesce(s.used, 0), coalesce(s.spans, 0))
                IS DISTINCT FROM (coalesce(t.used, 0), coalesce(t.spans, 0))
        ), corrected AS (
            INSERT INTO vm_totals (vm, email, used, spans) SELECT vm, email, used, spans FROM wrong ORDER BY vm, email
            ON CONFLICT (vm, email) DO UPDATE SET used = excluded.used, spans = excluded.spans RETURNING 1)
        SELECT count(*)::integer FROM corrected
        """;

    /// <summary>Recomputes locked totals; returns how many were wrong.</summary>
    public const string CorrectAccounts = """
        -- BillingSql.CorrectAccounts
        WITH sums AS (
            SELECT e.email, p.paid, p.payments, u.used, u.open_rate, u.open_start, u.charged_vms, v.vms,
                v.dollars_per_month
            FROM unnest(@emails::text[]) AS e (email),
                LATERAL (SELECT coalesce(sum(dollars) FILTER (WHERE NOT invalidated), 0) AS paid, count(*) AS payments
                    FROM payments WHERE email = e.email) AS p,
                LATERAL (SELECT count(DISTINCT vm) AS charged_vms,
                        coalesce(sum(dollars_per_month * (extract(epoch FROM upper(span))
                            - extract(epoch FROM lower(span)))) FILTER (WHERE NOT upper_inf(span)), 0) AS used,
                        coalesce(sum(dollars_per_month) FILTER (WHERE upper_inf(span)), 0) AS open_rate,
                        coalesce(sum(dollars_per_month * extract(epoch FROM lower(span)))
                            FILTER (WHERE upper_inf(span)), 0) AS open_start
                    FROM usage_spans WHERE email = e.email) AS u,
                LATERAL (SELECT count(*) AS vms,
                        coalesce(sum(dollars_per_month + extras_per_month), 0) AS dollars_per_month
                    FROM vms WHERE email = e.email AND deleted IS NULL) AS v
        ), corrected AS (
            UPDATE account_totals t SET paid = s.paid, payments = s.payments, used = s.used, open_rate = s.open_rate,
                open_start = s.open_start, charged_vms = s.charged_vms, vms = s.vms,
                dollars_per_month = s.dollars_per_month
            FROM sums s
            WHERE t.email = s.email AND (t.paid, t.payments, t.used, t.open_rate, t.open_start, t.charged_vms, t.vms,
                    t.dollars_per_month)
                IS DISTINCT FROM (s.paid, s.payments, s.used, s.open_rate, s.open_start, s.charged_vms, s.vms,
                    s.dollars_per_month) RETURNING 1)
        SELECT count(*)::integer FROM corrected
        """;
}
