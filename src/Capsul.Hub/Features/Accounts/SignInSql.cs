namespace Capsul.Hub.Features.Accounts;

/// <param name="RecentForSite">For the /48 around an IPv6 address, which one customer of a provider may
/// have.</param>
/// <param name="Recent">For all addresses together.</param>
public sealed record AskedLinksRow(
    long LiveForAddress, long RecentForAddress, long RecentForIp, long RecentForSite, long Recent);

public sealed record SignInTokenRow(string Email, DateTime Expires, DateTime? Used, string ReturnPath);

/// <summary>Statements over <c>sign_in_tokens</c>.</summary>
public static class SignInSql
{
    /// <summary>
    /// Blocks other requests for the same address or from the same IP until the transaction ends, so that counts are
    /// exact.
    /// </summary>
    public const string Lock = """
        -- SignInSql.Lock
        SELECT count(pg_advisory_xact_lock(hashtextextended('capsul sign-in ' || word, 0)))
        FROM (SELECT word FROM unnest(CAST(@words AS text[])) AS given (word) ORDER BY word) AS ordered
        """;

    public const string Counts = """
        -- SignInSql.Counts
        SELECT (SELECT count(*) FROM sign_in_tokens
            WHERE email = @email AND used IS NULL AND expires > @now) AS live_for_address,
               (SELECT count(*) FROM sign_in_tokens WHERE email = @email AND created > @since) AS recent_for_address,
               (SELECT count(*) FROM sign_in_tokens WHERE ip = @ip AND created > @since) AS recent_for_ip,
               (SELECT count(*) FROM sign_in_tokens
                   WHERE family(@ip) = 6 AND ip << network(set_masklen(@ip, 48)) AND created > @since)
                   AS recent_for_site,
               (SELECT count(*) FROM sign_in_tokens WHERE created > @since) AS recent
        """;

    public const string Create = """
        -- SignInSql.Create
        INSERT INTO sign_in_tokens (token_hash, email, ip, created, expires, return_path)
        VALUES (@hash, @email, @ip, @now, @expires, @returnPath)
        """;

    public const string Find = """
        -- SignInSql.Find
        SELECT email, expires, used, return_path FROM sign_in_tokens WHERE token_hash = @hash
        """;

    /// <summary>
    /// The row stays locked until the transaction ends: of two concurrent uses, the second sees the first.
    /// </summary>
    public const string FindForUse = """
        -- SignInSql.FindForUse
        SELECT email, expires, used, return_path FROM sign_in_tokens WHERE token_hash = @hash FOR UPDATE
        """;

    public const string Use = """
        -- SignInSql.Use
        UPDATE sign_in_tokens SET used = @now WHERE token_hash = @hash AND used IS NULL
        """;

    /// <summary>Links that an address has, and has not used, work no more.</summary>
    public const string EndLinksOf = """
        -- SignInSql.EndLinksOf
        UPDATE sign_in_tokens SET expires = @now WHERE email = @email AND used IS NULL AND expires > @now
        """;

    /// <summary>Kept for a week, so that an expired link can be distinguished from an invalid one.</summary>
    public const string Sweep = """
        -- SignInSql.Sweep
        DELETE FROM sign_in_tokens WHERE token_hash = ANY(ARRAY(
            SELECT token_hash FROM sign_in_tokens WHERE created < @before ORDER BY created LIMIT 500
                FOR UPDATE SKIP LOCKED))
        """;
}
