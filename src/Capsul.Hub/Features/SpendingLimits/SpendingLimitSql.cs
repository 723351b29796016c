using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.SpendingLimits;

/// <summary>What an account has set for itself, and how it stands.</summary>
/// <param name="MonthlyCap">Nothing is created that would make a month cost more; null: no cap.</param>
/// <param name="BalanceBelow">An email is sent when the balance falls below; null: none is.</param>
/// <param name="UsageAbove">The same when the usage of a month exceeds it.</param>
/// <param name="BalanceTold">Since when the balance is known to be below; null: it is not.</param>
/// <param name="UsageTold">The beginning of the last month whose usage is known to exceed it.</param>
/// <param name="MonthUsed">Usage of this month until now, exactly.</param>
public sealed record SpendingLimitRow(decimal? MonthlyCap, decimal? BalanceBelow, decimal? UsageAbove,
    DateTime? BalanceTold, DateTime? UsageTold, decimal Paid, decimal Used, decimal DollarsPerMonth, decimal MonthUsed)
{
    public BalanceRow Balance => new(Paid, Used, DollarsPerMonth);
}

/// <summary>The cap of an account, and what counts against it.</summary>
/// <param name="Used">Usage of this month until now, exactly.</param>
/// <param name="RestSeconds">Of this month.</param>
public sealed record SpendingCapRow(decimal Cap, decimal Used, decimal RestSeconds);

/// <summary>Statements over <c>spending_limits</c>. A month is one of the calendar, UTC.</summary>
public static class SpendingLimitSql
{
    const string Columns = $"""
        l.monthly_cap, l.balance_below, l.usage_above, l.balance_told, l.usage_told, {BillingSql.BalanceColumns},
            {BillingSql.MonthUsed} AS month_used
        """;

    /// <summary>One row, also for an account that has set nothing.</summary>
    public const string Find = $"""
        -- SpendingLimitSql.Find
        SELECT {Columns}
        FROM (VALUES (1)) AS one (n) LEFT JOIN spending_limits l ON l.email = @email
            LEFT JOIN account_totals t ON t.email = @email
        """;

    /// <summary>The same while the limits are locked; nothing if there are none.</summary>
    public const string Lock = $"""
        -- SpendingLimitSql.Lock
        SELECT {Columns} FROM spending_limits l JOIN account_totals t ON t.email = l.email WHERE l.email = @email
        FOR UPDATE OF l
        """;

    /// <summary>What a create is decided on; nothing without a cap.</summary>
    public const string Cap = $"""
        -- SpendingLimitSql.Cap
        SELECT l.monthly_cap AS cap, {BillingSql.MonthUsed} AS used,
            extract(epoch FROM @nextMonth::timestamptz - @now::timestamptz) AS rest_seconds
        FROM spending_limits l JOIN account_totals t ON t.email = l.email
        WHERE l.email = @email AND l.monthly_cap IS NOT NULL
        """;

    /// <summary>Accounts that have to be told something, or of which something is over. A page begins after @after.
    /// </summary>
    public const string Due = $"""
        -- SpendingLimitSql.Due
        SELECT s.email FROM (
            SELECT l.email, l.balance_below, l.balance_told, l.usage_above, l.usage_told, {BillingSql.BalanceColumns},
                CASE WHEN l.usage_told IS DISTINCT FROM @month THEN {BillingSql.MonthUsed} ELSE 0 END AS month_used
            FROM spending_limits l JOIN account_totals t ON t.email = l.email
            WHERE l.email > @after AND num_nonnulls(l.balance_below, l.usage_above) > 0) AS s
        WHERE (s.paid - s.used < s.balance_below) <> (s.balance_told IS NOT NULL) OR s.month_used > s.usage_above
        ORDER BY s.email LIMIT @limit
        """;

    public const string Set = """
        -- SpendingLimitSql.Set
        INSERT INTO spending_limits (email, monthly_cap, balance_below, usage_above, balance_told, usage_told)
        VALUES (@email, @monthlyCap, @balanceBelow, @usageAbove, @balanceTold, @usageTold)
        ON CONFLICT (email) DO UPDATE SET monthly_cap = excluded.monthly_cap, balance_below = excluded.balance_below,
            usage_above = excluded.usage_above, balance_told = excluded.balance_told,
            usage_told = excluded.usage_told
        """;

    public const string Remove = """
        -- SpendingLimitSql.Remove
        DELETE FROM spending_limits WHERE email = @email
        """;

    public const string Note = """
        -- SpendingLimitSql.Note
        UPDATE spending_limits SET balance_told = @balanceTold, usage_told = @usageTold WHERE email = @email
        """;
}
