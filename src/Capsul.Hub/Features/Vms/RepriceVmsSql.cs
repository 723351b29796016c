namespace Capsul.Hub.Features.Vms;

/// <summary>A VM that gets another price.</summary>
public sealed record RepricedVmRow(string Id, string Email, string Host, bool IsGone);

/// <summary>
/// Statements that give VMs another price from a moment on. Charged time before it keeps the price that it had: a span
/// that goes on after it ends there, and another begins at the same instant. Each VM has the price at its own level.
/// </summary>
public static class RepriceVmsSql
{
    /// <summary>VMs that follow a size and do not have the price yet.</summary>
    public const string Behind = """
        -- RepriceVmsSql.Behind
        SELECT id FROM vms WHERE size = @size AND deleted IS NULL AND price_from < @from ORDER BY id LIMIT @limit
        """;

    /// <summary>The same that were deleted since it is in force: what they were charged since has that price.</summary>
    public const string DeletedSince = """
        -- RepriceVmsSql.DeletedSince
        SELECT id FROM vms WHERE size = @size AND deleted > @from AND price_from < @from ORDER BY id LIMIT @limit
        """;

    /// <summary>Locks those that still do not have it.</summary>
    public const string Lock = """
        -- RepriceVmsSql.Lock
        SELECT id, email, host, wanted = 'gone' AS is_gone FROM vms WHERE id = ANY(@ids) AND price_from < @from
        ORDER BY id FOR UPDATE
        """;

    /// <summary>Charged time that ends after @from.</summary>
    public const string LockSpans = """
        -- RepriceVmsSql.LockSpans
        SELECT id FROM usage_spans
        WHERE vm = ANY(@ids) AND extra IS NULL AND coalesce(upper(span), 'infinity'::timestamptz) > @from
        ORDER BY id FOR UPDATE
        """;

    /// <summary>
    /// Of locked spans: those that contain @from are cut there. The new span is made of the old one, after that has
    /// been shortened, because the two must not overlap.
    /// </summary>
    public const string Cut = """
        -- RepriceVmsSql.Cut
        WITH whole AS MATERIALIZED (
            SELECT id, vm, email, span FROM usage_spans
            WHERE vm = ANY(@ids) AND extra IS NULL AND coalesce(upper(span), 'infinity'::timestamptz) > @from
                AND lower(span) < @from),
        cut AS (UPDATE usage_spans s SET span = tstzrange(lower(s.span), @from) FROM whole w WHERE s.id = w.id
            RETURNING s.id)
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT w.vm, w.email, tstzrange(@from, upper(w.span)), price_at(@dollars, v.price_percent)
        FROM cut c JOIN whole w ON w.id = c.id JOIN vms v ON v.id = w.vm
        """;

    /// <summary>Charged time that began after it came into force, and before a Hub got to it.</summary>
    public const string PriceLater = """
        -- RepriceVmsSql.PriceLater
        UPDATE usage_spans s SET dollars_per_month = price_at(@dollars, v.price_percent) FROM vms v
        WHERE v.id = s.vm AND s.vm = ANY(@ids) AND s.extra IS NULL
            AND coalesce(upper(s.span), 'infinity'::timestamptz) > @from AND lower(s.span) >= @from
            AND s.dollars_per_month <> price_at(@dollars, v.price_percent)
        """;

    /// <summary>
    /// The VMs have the price. Those that are not going are told to their Spokes again, whose recovery records say what
    /// a VM costs; the generations of their hosts have just been raised.
    /// </summary>
    public const string SetPrice = """
        -- RepriceVmsSql.SetPrice
        UPDATE vms v SET dollars_per_month = price_at(@dollars, v.price_percent), price_from = @from,
            wanted_generation = CASE WHEN v.wanted = 'gone' THEN v.wanted_generation ELSE h.generation END
        FROM hosts h WHERE h.id = v.host AND v.id = ANY(@ids)
        """;
}
