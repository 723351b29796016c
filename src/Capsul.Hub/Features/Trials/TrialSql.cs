namespace Capsul.Hub.Features.Trials;

/// <summary>Trial credit of an account that has not lapsed yet.</summary>
/// <param name="Lapses">When what is not used of it lapses.</param>
public sealed record TrialRow(long Id, string Email, decimal Amount, DateTime Lapses);

/// <summary>What has become of all trial credit.</summary>
/// <param name="Given">To so many accounts.</param>
public sealed record TrialSumsRow(long Given, decimal Amount, decimal Lapsed);

/// <summary>Statements over <c>trials</c>.</summary>
public static class TrialSql
{
    /// <summary>
    /// Null if the address had some before. Whoever comes second waits here for the first one to commit.
    /// </summary>
    public const string Add = """
        -- TrialSql.Add
        INSERT INTO trials (email_hash, given, lapses) VALUES (@hash, @now, @lapses)
        ON CONFLICT (email_hash) DO NOTHING RETURNING id
        """;

    public const string SetPayment = """
        -- TrialSql.SetPayment
        UPDATE trials SET payment = @payment WHERE id = @id
        """;

    const string Open = """
        SELECT t.id, p.email, p.dollars AS amount, t.lapses FROM trials t
            JOIN payments p ON p.id = t.payment AND NOT p.invalidated
        """;

    public const string FindOf = $"""
        -- TrialSql.FindOf
        {Open} WHERE p.email = @email AND p.method = 'trial' AND t.lapsed IS NULL
        """;

    public const string Find = $"""
        -- TrialSql.Find
        {Open} WHERE t.id = @id AND t.lapsed IS NULL
        """;

    public const string Lock = """
        -- TrialSql.Lock
        SELECT id FROM trials WHERE id = @id FOR NO KEY UPDATE
        """;

    /// <summary>Also of those that were taken back, of which nothing is left; a page begins after @after.</summary>
    public const string Due = """
        -- TrialSql.Due
        SELECT id FROM trials WHERE lapsed IS NULL AND lapses <= @now AND id > @after ORDER BY id LIMIT @limit
        """;

    public const string Lapse = """
        -- TrialSql.Lapse
        UPDATE trials SET lapsed = @now, taken = @taken WHERE id = @id AND lapsed IS NULL
        """;

    /// <summary>What an account has of it, less what lapsed.</summary>
    public const string Net = """
        -- TrialSql.Net
        SELECT coalesce(sum(dollars), 0) FROM payments WHERE email = @email AND method = 'trial' AND NOT invalidated
        """;

    public const string Sums = """
        -- TrialSql.Sums
        SELECT count(*) AS given, coalesce(sum(p.dollars), 0) AS amount, coalesce(-sum(k.dollars), 0) AS lapsed
        FROM trials t JOIN payments p ON p.id = t.payment LEFT JOIN payments k ON k.id = t.taken
        """;
}
