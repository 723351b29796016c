namespace Capsul.Hub.Features.Vms;

/// <summary>An extra that gets another price.</summary>
public sealed record RepricedExtraRow(long Id, string Vm, string Email, string Host, bool IsGone);

/// <summary>
/// Statements that give extras of VMs the price that has come into force, as <see cref="RepriceVmsSql"/> does for VMs:
/// charged time before it keeps the price that it had.
/// </summary>
public static class RepriceExtrasSql
{
    /// <summary>Those that do not have it yet, and those that were removed since: what they were charged since has it.
    /// </summary>
    public const string Behind = """
        -- RepriceExtrasSql.Behind
        SELECT id FROM vm_extras WHERE kind = @size AND price_from < @from AND (removed IS NULL OR removed > @from)
        ORDER BY id LIMIT @limit
        """;

    /// <summary>Locks the VMs of those that still do not have it.</summary>
    public const string Lock = """
        -- RepriceExtrasSql.Lock
        SELECT x.id, v.id AS vm, v.email, v.host, v.wanted = 'gone' AS is_gone
        FROM vms v JOIN vm_extras x ON x.vm = v.id
        WHERE x.id = ANY(@ids) AND x.price_from < @from ORDER BY v.id, x.id FOR UPDATE
        """;

    /// <summary>Charged time that ends after @from.</summary>
    public const string LockSpans = """
        -- RepriceExtrasSql.LockSpans
        SELECT id FROM usage_spans
        WHERE vm = ANY(@vms) AND extra = ANY(@ids) AND coalesce(upper(span), 'infinity'::timestamptz) > @from
        ORDER BY id FOR UPDATE
        """;

    /// <summary>Of locked spans: those that contain @from are cut there.</summary>
    public const string Cut = """
        -- RepriceExtrasSql.Cut
        WITH whole AS MATERIALIZED (
            SELECT id, vm, extra, email, span FROM usage_spans
            WHERE vm = ANY(@vms) AND extra = ANY(@ids) AND coalesce(upper(span), 'infinity'::timestamptz) > @from
                AND lower(span) < @from),
        cut AS (UPDATE usage_spans s SET span = tstzrange(lower(s.span), @from) FROM whole w WHERE s.id = w.id
            RETURNING s.id)
        INSERT INTO usage_spans (vm, extra, email, span, dollars_per_month)
        SELECT w.vm, w.extra, w.email, tstzrange(@from, upper(w.span)), @dollars::numeric
        FROM cut c JOIN whole w ON w.id = c.id
        """;

    /// <summary>Charged time that began after it came into force, and before a Hub got to it.</summary>
    public const string PriceLater = """
        -- RepriceExtrasSql.PriceLater
        UPDATE usage_spans SET dollars_per_month = @dollars
        WHERE vm = ANY(@vms) AND extra = ANY(@ids) AND coalesce(upper(span), 'infinity'::timestamptz) > @from
            AND lower(span) >= @from AND dollars_per_month <> @dollars
        """;

    /// <summary>Their VMs are told to their Spokes again, whose recovery records say what an address costs.</summary>
    public const string Renew = """
        -- RepriceExtrasSql.Renew
        UPDATE vms v SET wanted_generation = h.generation FROM hosts h
        WHERE h.id = v.host AND v.id = ANY(@vms) AND v.wanted <> 'gone'
        """;

    public const string SetPrice = """
        -- RepriceExtrasSql.SetPrice
        UPDATE vm_extras SET dollars_per_month = @dollars, price_from = @from WHERE id = ANY(@ids)
        """;
}
