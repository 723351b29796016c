using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Accounts;

/// <param name="Stopped">The account's VMs are stopped because it has not paid.</param>
/// <param name="Closes">It is being closed, and may be reopened until then.</param>
public sealed record SessionRow(
    string Email, DateTime Expires, decimal Paid, decimal Used, decimal DollarsPerMonth, bool Stopped,
    DateTime? Closes);

/// <summary>An account, for its owner.</summary>
/// <param name="Sessions">That are valid.</param>
public sealed record AccountRow(string Email, DateTime Created, long Sessions);

/// <summary>Statements over <c>accounts</c> and <c>sessions</c>.</summary>
public static class AccountSql
{
    public const string Create = """
        -- AccountSql.Create
        INSERT INTO accounts (email, created) VALUES (@email, @now)
        ON CONFLICT (email) DO NOTHING
        """;

    /// <summary>One that waits for an operator to approve it, if @waits.</summary>
    public const string SignUp = """
        -- AccountSql.SignUp
        INSERT INTO accounts (email, created, waits)
        VALUES (@email, @now, CASE WHEN @waits THEN @now::timestamptz END) ON CONFLICT (email) DO NOTHING
        """;

    public const string Approve = """
        -- AccountSql.Approve
        UPDATE accounts SET waits = NULL WHERE email = @email AND waits IS NOT NULL
        """;

    public const string CreateMany = """
        -- AccountSql.CreateMany
        INSERT INTO accounts (email, created) SELECT email, @now FROM unnest(@emails::text[]) AS n (email)
        ORDER BY email ON CONFLICT (email) DO NOTHING
        """;

    public const string LockMany = """
        -- AccountSql.LockMany
        SELECT email FROM accounts WHERE email = ANY(@emails) ORDER BY email FOR NO KEY UPDATE
        """;

    public const string HasVms = """
        -- AccountSql.HasVms
        SELECT EXISTS (SELECT FROM vms WHERE email = @email)
        """;

    public const string CreateSession = """
        -- AccountSql.CreateSession
        INSERT INTO sessions (id_hash, email, created, expires) VALUES (@hash, @email, @now, @expires)
        """;

    /// <summary>With what every page shows of the account.</summary>
    public const string FindSession = $"""
        -- AccountSql.FindSession
        SELECT s.email, s.expires, {BillingSql.BalanceColumns}, EXISTS (SELECT FROM dunning d
                JOIN dunning_steps n ON n.step <= d.step AND n.action <> 'mail' WHERE d.email = s.email) AS stopped,
            (SELECT c.due FROM account_closings c WHERE c.email = s.email AND c.reopened IS NULL) AS closes
        FROM sessions s LEFT JOIN account_totals t ON t.email = s.email
        WHERE s.id_hash = @hash AND s.expires > @now
        """;

    public const string IsSessionLive = """
        -- AccountSql.IsSessionLive
        SELECT EXISTS (SELECT FROM sessions WHERE id_hash = @hash AND expires > @now)
        """;

    public const string ExtendSession = """
        -- AccountSql.ExtendSession
        UPDATE sessions SET expires = @expires WHERE id_hash = @hash AND expires < @expires
        """;

    public const string Find = """
        -- AccountSql.Find
        SELECT a.email, a.created,
            (SELECT count(*) FROM sessions s WHERE s.email = a.email AND s.expires > @now) AS sessions
        FROM accounts a WHERE a.email = @email
        """;

    public const string DeleteSessionsOf = """
        -- AccountSql.DeleteSessionsOf
        DELETE FROM sessions WHERE email = @email
        """;

    /// <summary>How many of these accounts exist and are not being closed.</summary>
    public const string CountOpen = """
        -- AccountSql.CountOpen
        SELECT count(*)::integer FROM accounts a WHERE a.email = ANY(@emails)
            AND NOT EXISTS (SELECT FROM account_closings c WHERE c.email = a.email AND c.reopened IS NULL)
        """;

    public const string DeleteSession = """
        -- AccountSql.DeleteSession
        DELETE FROM sessions WHERE id_hash = @hash
        """;

    public const string SweepSessions = """
        -- AccountSql.SweepSessions
        DELETE FROM sessions WHERE id_hash = ANY(ARRAY(
            SELECT id_hash FROM sessions WHERE expires < @now ORDER BY expires LIMIT 500 FOR UPDATE SKIP LOCKED))
        """;
}
