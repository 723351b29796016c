namespace Capsul.Hub.Features.Accounts;

public sealed record SessionRow(string Email, DateTime Expires);

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

    public const string FindSession = """
        -- AccountSql.FindSession
        SELECT email, expires FROM sessions WHERE id_hash = @hash AND expires > @now
        """;

    public const string ExtendSession = """
        -- AccountSql.ExtendSession
        UPDATE sessions SET expires = @expires WHERE id_hash = @hash AND expires < @expires
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
