namespace Capsul.Hub.Features.Sponsorships;

/// <summary>An amount that an account gets from the fund each month.</summary>
/// <param name="Until">What would be due then or later is not paid any more.</param>
/// <param name="Months">That were paid.</param>
/// <param name="NextDue">When the next one is due.</param>
/// <param name="ShortSince">Since when one is due that the fund does not hold.</param>
public sealed record SponsorshipRow(long Id, string Email, decimal Amount, DateTime Starts, DateTime? Until, int Months,
    DateTime NextDue, string Actor, string Reason, DateTime? Ended, DateTime? ShortSince)
{
    /// <summary>In a few words.</summary>
    public string State => this switch
    {
        { Ended: not null } => "ended",
        { ShortSince: not null } => "waiting for the fund",
        _ => "active",
    };
}

/// <summary>What all sponsorships that go on come to in a month.</summary>
public sealed record PromisedRow(decimal PerMonth, long Accounts);

/// <summary>A sponsorship for which something is to be done.</summary>
public sealed record DueSponsorshipRow(long Id, DateTime NextDue);

/// <summary>Statements over <c>sponsorships</c>.</summary>
public static class SponsorshipSql
{
    const string Columns = """
        s.id, s.email, s.amount, s.starts, s.until, s.months, s.next_due, s.actor, s.reason, s.ended, s.short_since
        """;

    public const string Add = """
        -- SponsorshipSql.Add
        INSERT INTO sponsorships (email, amount, starts, until, actor, reason)
        VALUES (@email, @amount, @now, @until, @actor, @reason) RETURNING id
        """;

    public const string Find = $"""
        -- SponsorshipSql.Find
        SELECT {Columns} FROM sponsorships s WHERE s.id = @id
        """;

    /// <summary>The one that is going on.</summary>
    public const string FindOf = $"""
        -- SponsorshipSql.FindOf
        SELECT {Columns} FROM sponsorships s WHERE s.email = @email AND s.ended IS NULL
        """;

    public const string Promised = """
        -- SponsorshipSql.Promised
        SELECT coalesce(sum(amount), 0) AS per_month, count(*) AS accounts FROM sponsorships WHERE ended IS NULL
        """;

    public const string Lock = """
        -- SponsorshipSql.Lock
        SELECT id FROM sponsorships WHERE id = @id FOR NO KEY UPDATE
        """;

    /// <summary>Those that are going on first, then the newest; a page begins after (older than) @after.</summary>
    public const string List = $"""
        -- SponsorshipSql.List
        SELECT {Columns} FROM sponsorships s
        WHERE (s.ended IS NOT NULL, -s.id) > (@isEnded, -coalesce(nullif(@after, 0), 9223372036854775807))
        ORDER BY s.ended IS NOT NULL, -s.id LIMIT @limit
        """;

    /// <summary>
    /// Where a month is due, or none will be any more, the oldest first; a page begins after (@due, @after). Accounts
    /// that are being closed wait.
    /// </summary>
    public const string Due = """
        -- SponsorshipSql.Due
        SELECT s.id, s.next_due FROM sponsorships s
        WHERE s.ended IS NULL AND (s.next_due <= @now OR s.next_due >= s.until) AND (s.next_due, s.id) > (@due, @after)
            AND NOT EXISTS (SELECT FROM account_closings c WHERE c.email = s.email AND c.reopened IS NULL)
        ORDER BY s.next_due, s.id LIMIT @limit
        """;

    public const string SetShort = """
        -- SponsorshipSql.SetShort
        UPDATE sponsorships SET short_since = @now WHERE id = @id AND short_since IS NULL
        """;

    public const string End = """
        -- SponsorshipSql.End
        UPDATE sponsorships SET ended = @now, short_since = NULL WHERE id = @id AND ended IS NULL
        """;
}
