namespace Capsul.Hub.Features.Payments;

/// <summary>An event, for operators.</summary>
public sealed record ProviderEventRow(long Id, string Event, string Type, DateTime Received, DateTime? Handled);

/// <summary>Statements over <c>provider_events</c>, the inbox of all providers, and over what was refused.</summary>
public static class ProviderEventSql
{
    /// <summary>
    /// Stores an event, unless it is known, and has the provider asked about its payment. An event about none of ours
    /// is handled at once; if its key is one of ours (@ourKey), that is kept. Returns the event's number; nothing if it
    /// was known.
    /// </summary>
    public const string Receive = """
        -- ProviderEventSql.Receive
        WITH found AS (
            (SELECT id FROM provider_payments WHERE key = @key AND provider = @provider)
            UNION ALL
            (SELECT id FROM provider_payments WHERE provider = @provider AND reference = @reference)
            UNION ALL
            (SELECT id FROM provider_payments WHERE provider = @provider AND charge = @charge)
            UNION ALL
            (SELECT p.id FROM provider_refunds r JOIN provider_payments p ON p.id = r.payment
                WHERE r.reference = @refund AND p.provider = @provider)
            LIMIT 1
        ), added AS (
            INSERT INTO provider_events (provider, event, type, received, body, payment, handled, unknown_key)
            SELECT @provider, @event, @type, @now::timestamptz, @body, f.id,
                CASE WHEN f.id IS NULL THEN @now::timestamptz END, CASE WHEN f.id IS NULL THEN @ourKey END
            FROM (SELECT (SELECT id FROM found) AS id) AS f
            ON CONFLICT (provider, event) DO NOTHING RETURNING id, payment
        ), woken AS (
            UPDATE provider_payments p SET next_poll = @now FROM added a WHERE p.id = a.payment RETURNING p.id
        )
        SELECT id FROM added
        """;

    /// <summary>The provider has been asked since they came.</summary>
    public const string Handle = """
        -- ProviderEventSql.Handle
        UPDATE provider_events SET handled = @now WHERE payment = @id AND handled IS NULL AND id <= @lastEvent
        """;

    /// <summary>
    /// They may contain names and addresses, and are of no use after a while, whatever has become of their payments.
    /// More than a provider sends in the hour until the next time.
    /// </summary>
    public const string ForgetBodies = """
        -- ProviderEventSql.ForgetBodies
        UPDATE provider_events SET body = '' WHERE id = ANY(ARRAY(
            SELECT id FROM provider_events WHERE body <> '' AND received < @before ORDER BY received LIMIT 20000))
        """;

    public const string OfPayment = """
        -- ProviderEventSql.OfPayment
        SELECT id, event, type, received, handled FROM provider_events WHERE payment = @id ORDER BY id DESC LIMIT 50
        """;

    /// <summary>Counts more, beginning anew after an hour.</summary>
    public const string Refuse = """
        -- ProviderEventSql.Refuse
        INSERT INTO provider_refusals AS r (provider, since, last, count, problem)
        VALUES (@provider, @now, @now, @count, @problem)
        ON CONFLICT (provider) DO UPDATE SET last = @now, problem = @problem,
            since = CASE WHEN r.since < @hourAgo THEN @now ELSE r.since END,
            count = CASE WHEN r.since < @hourAgo THEN @count ELSE r.count + @count END
        """;
}
