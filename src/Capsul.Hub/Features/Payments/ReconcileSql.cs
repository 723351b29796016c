namespace Capsul.Hub.Features.Payments;

/// <summary>What the database has of a payment that a provider lists.</summary>
public sealed record KnownByKeyRow(
    long Id, string Key, string? Reference, string Status, decimal Received, decimal Amount = 0);

/// <summary>A payment that was paid, as the database has it.</summary>
public sealed record PaidHereRow(
    long Id, string Key, string? Reference, string Email, decimal Amount, string Currency, DateTime Created);

/// <summary>Statements that compare a provider with <c>provider_payments</c>.</summary>
public static class ReconcileSql
{
    public const string Known = """
        -- ReconcileSql.Known
        SELECT id, key, reference, status, received, amount FROM provider_payments WHERE key = ANY(@keys)
        """;

    /// <summary>Those that were begun since then.</summary>
    public const string PaidHere = """
        -- ReconcileSql.PaidHere
        SELECT p.id, p.key, p.reference, p.email, p.amount, c.code AS currency, p.created
        FROM provider_payments p, currency c
        WHERE p.provider = @provider AND p.status = 'paid' AND p.received > 0 AND p.created >= @since ORDER BY p.id
        """;

    /// <summary>Returns its number; nothing if somebody else has just added it.</summary>
    public const string Add = """
        -- ReconcileSql.Add
        INSERT INTO provider_payments (provider, email, amount, key, created, return_to, reference, url, status,
            next_poll, automatic)
        VALUES (@provider, @email, @amount, @key, @created, '', @reference, @url, 'open', @now, @automatic)
        ON CONFLICT DO NOTHING RETURNING id
        """;

    /// <summary>Its checkout was made, and the answer lost, or the row is older than the answer.</summary>
    public const string SetCheckout = """
        -- ReconcileSql.SetCheckout
        UPDATE provider_payments SET reference = @reference, url = @url, next_poll = @now, problem = '',
            failing_since = NULL, status = CASE WHEN automatic THEN status ELSE 'open' END,
            return_to = CASE WHEN friend_link IS NULL THEN return_to ELSE '' END
        WHERE id = @id AND reference IS NULL AND claimed IS NULL
        """;

    public const string AskAgain = """
        -- ReconcileSql.AskAgain
        UPDATE provider_payments SET next_poll = @now WHERE id = @id AND claimed IS NULL
        """;

    /// <summary>Events that came while the payment was not known.</summary>
    public const string TakeEvents = """
        -- ReconcileSql.TakeEvents
        UPDATE provider_events SET payment = @id, unknown_key = NULL WHERE unknown_key = @key
        """;

    /// <summary>Nothing was paid, and nothing will be.</summary>
    public const string DropUnknown = """
        -- ReconcileSql.DropUnknown
        UPDATE provider_events SET unknown_key = NULL WHERE unknown_key = ANY(@keys)
        """;
}
