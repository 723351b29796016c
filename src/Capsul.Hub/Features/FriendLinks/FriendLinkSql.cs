namespace Capsul.Hub.Features.FriendLinks;

/// <summary>A link by which others pay into an account, without its secret.</summary>
/// <param name="Name">What it shows to them.</param>
/// <param name="Payments">That arrived by it.</param>
/// <param name="Received">Their sum.</param>
public sealed record FriendLinkRow(
    long Id, string Email, string Name, DateTime Created, DateTime? Revoked, long Payments, decimal Received);

/// <summary>Payments that were begun by a link.</summary>
/// <param name="Open">That nobody has paid.</param>
public sealed record BegunRow(long Open, long All);

/// <summary>Statements over <c>friend_links</c>.</summary>
public static class FriendLinkSql
{
    public const string Add = """
        -- FriendLinkSql.Add
        INSERT INTO friend_links (email, code_hash, name, created) VALUES (@email, @hash, @name, @now) RETURNING id
        """;

    public const string CountLive = """
        -- FriendLinkSql.CountLive
        SELECT count(*) FROM friend_links WHERE email = @email AND revoked IS NULL
        """;

    /// <summary>Newest first.</summary>
    public const string ListOf = """
        -- FriendLinkSql.ListOf
        SELECT f.id, f.email, f.name, f.created, f.revoked,
            (SELECT count(*) FROM provider_payments p WHERE p.friend_link = f.id AND p.received > 0) AS payments,
            (SELECT coalesce(sum(c.dollars), 0) FROM provider_payments p JOIN payments c
                ON c.provider_payment = p.id AND NOT c.invalidated WHERE p.friend_link = f.id) AS received
        FROM friend_links f WHERE f.email = @email ORDER BY f.id DESC LIMIT 100
        """;

    public const string Revoke = """
        -- FriendLinkSql.Revoke
        UPDATE friend_links SET revoked = @now WHERE id = @id AND email = @email AND revoked IS NULL
        """;

    /// <summary>One that works: of an account that is not being closed.</summary>
    public const string Find = """
        -- FriendLinkSql.Find
        SELECT f.id, f.email, f.name, f.created, f.revoked, 0::bigint AS payments, 0::numeric AS received
        FROM friend_links f WHERE f.code_hash = @hash AND f.revoked IS NULL AND NOT EXISTS (
            SELECT FROM account_closings c WHERE c.email = f.email AND c.reopened IS NULL)
        """;

    /// <summary>Payments by a link, since a time: that nobody has paid, and all.</summary>
    public const string CountBegun = """
        -- FriendLinkSql.CountBegun
        SELECT count(*) FILTER (WHERE status IN ('new', 'open')) AS open, count(*) AS all
        FROM provider_payments WHERE friend_link = @link AND created > @since
        """;
}
