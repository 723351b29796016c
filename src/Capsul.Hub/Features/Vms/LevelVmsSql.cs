namespace Capsul.Hub.Features.Vms;

/// <summary>Statements that give the VMs of an account the price of another level.</summary>
public static class LevelVmsSql
{
    /// <summary>The line from which a VM has its price.</summary>
    const string Line = "p.size = v.size AND p.active_from = v.price_from AND p.withdrawn IS NULL";

    /// <summary>Those that follow their size; a VM with a price of its own keeps it.</summary>
    public const string Lock = """
        -- LevelVmsSql.Lock
        SELECT id, email, host, wanted = 'gone' AS is_gone FROM vms
        WHERE email = @email AND deleted IS NULL AND price_from IS NOT NULL ORDER BY id FOR UPDATE
        """;

    public const string AreBehind = """
        -- LevelVmsSql.AreBehind
        SELECT EXISTS (SELECT FROM vms v JOIN prices p ON p.size = v.size AND p.withdrawn IS NULL
            AND p.active_from > v.price_from AND p.active_from <= @now
        WHERE v.email = @email AND v.deleted IS NULL)
        """;

    /// <summary>
    /// From when on the level counts: now, or when the newest price of the VMs came into force, if a Hub with a faster
    /// clock has given it to them already.
    /// </summary>
    public const string From = """
        -- LevelVmsSql.From
        SELECT greatest(@now, max(price_from)) FROM vms WHERE email = @email AND deleted IS NULL
        """;

    /// <summary>
    /// Of locked spans: those that contain @from are cut there. The new span is made of the old one, after that has
    /// been shortened, because the two must not overlap.
    /// </summary>
    public const string Cut = $"""
        -- LevelVmsSql.Cut
        WITH whole AS MATERIALIZED (
            SELECT s.id, s.vm, s.email, s.span, price_at(p.dollars_per_month, @percent) AS dollars
            FROM usage_spans s JOIN vms v ON v.id = s.vm JOIN prices p ON {Line}
            WHERE s.vm = ANY(@ids) AND s.extra IS NULL
                AND coalesce(upper(s.span), 'infinity'::timestamptz) > @from AND lower(s.span) < @from),
        cut AS (UPDATE usage_spans s SET span = tstzrange(lower(s.span), @from) FROM whole w WHERE s.id = w.id
            RETURNING s.id)
        INSERT INTO usage_spans (vm, email, span, dollars_per_month)
        SELECT w.vm, w.email, tstzrange(@from, upper(w.span)), w.dollars FROM cut c JOIN whole w ON w.id = c.id
        """;

    /// <summary>Charged time that another Hub's faster clock has begun after @from.</summary>
    public const string PriceLater = $"""
        -- LevelVmsSql.PriceLater
        UPDATE usage_spans s SET dollars_per_month = price_at(p.dollars_per_month, @percent)
        FROM vms v JOIN prices p ON {Line}
        WHERE v.id = s.vm AND s.vm = ANY(@ids) AND s.extra IS NULL
            AND coalesce(upper(s.span), 'infinity'::timestamptz) > @from AND lower(s.span) >= @from
            AND s.dollars_per_month <> price_at(p.dollars_per_month, @percent)
        """;

    /// <summary>Like <see cref="RepriceVmsSql.SetPrice"/>; the line stays the same.</summary>
    public const string SetPrice = $"""
        -- LevelVmsSql.SetPrice
        UPDATE vms v SET dollars_per_month = price_at(p.dollars_per_month, @percent), price_percent = @percent,
            wanted_generation = CASE WHEN v.wanted = 'gone' THEN v.wanted_generation ELSE h.generation END
        FROM hosts h, prices p WHERE h.id = v.host AND v.id = ANY(@ids) AND {Line}
        """;
}
