namespace Capsul.Hub.Features.AccountLimits;

/// <summary>A line of the table: from this age, and this much paid in, an account may have so many capsuls.</summary>
public sealed record AccountLimitRow(int AfterDays, decimal Paid, int MaxVms);

/// <summary>An account that waits to be approved.</summary>
public sealed record WaitingAccountRow(string Email, DateTime Waits);

/// <summary>Statements over <c>account_limits</c>.</summary>
public static class AccountLimitSql
{
    public const string List = """
        -- AccountLimitSql.List
        SELECT after_days, paid, max_vms FROM account_limits ORDER BY after_days, paid
        """;

    public const string Set = """
        -- AccountLimitSql.Set
        INSERT INTO account_limits (after_days, paid, max_vms) VALUES (@afterDays, @paid, @maxVms)
        ON CONFLICT (after_days, paid) DO UPDATE SET max_vms = excluded.max_vms
        """;

    public const string Remove = """
        -- AccountLimitSql.Remove
        DELETE FROM account_limits WHERE after_days = @afterDays AND paid = @paid
        """;

    /// <summary>The oldest first.</summary>
    public const string ListWaiting = """
        -- AccountLimitSql.ListWaiting
        SELECT email, waits FROM accounts WHERE waits IS NOT NULL ORDER BY waits, email LIMIT @limit
        """;
}
