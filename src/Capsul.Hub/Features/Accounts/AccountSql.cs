using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Accounts;

/// <param name="Stopped">The account's VMs are stopped because it has not paid.</param>
public sealed record SessionRow(
    string Email, DateTime Expires, decimal Paid, decimal Used, decimal DollarsPerMonth, bool Stopped);

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
                JOIN dunning_steps n ON n.step <= d.step AND n.action <> 'mail' WHERE d.email = s.email) AS stopped
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
