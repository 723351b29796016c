namespace Capsul.Hub.Features.Pools;

/// <summary>A pool, and how many of its addresses are used, reserved, cooling down and free.</summary>
public sealed record PoolRow(
    string Host, short Family, string Kind, string Network, string Gateway, string First, string Last,
    int CoolDownSeconds, int Used, int Reserved, int Cooling, int Free);

/// <summary>An address that VMs do not get. Vm: one had it before, and keeps it; empty: none.</summary>
public sealed record ReservedAddressRow(string Address, string Reason, string Vm);

/// <summary>Statements on pools.</summary>
public static class PoolSql
{
    /// <summary>The pools of a host, as it reports them. Changes only what is different.</summary>
    public const string Put = """
        -- PoolSql.Put
        INSERT INTO pools AS p (host, family, network, gateway, first, last)
        SELECT @host, family, network::cidr, gateway::inet, first::inet, last::inet
        FROM unnest(@families::smallint[], @networks::text[], @gateways::text[], @firsts::text[], @lasts::text[])
            AS n (family, network, gateway, first, last)
        ON CONFLICT (host, family) DO UPDATE SET network = excluded.network, gateway = excluded.gateway,
            first = excluded.first, last = excluded.last
        WHERE (p.network, p.gateway, p.first, p.last)
            IS DISTINCT FROM (excluded.network, excluded.gateway, excluded.first, excluded.last)
        """;

    /// <summary>Those that a host no longer reports.</summary>
    public const string Drop = """
        -- PoolSql.Drop
        DELETE FROM pools WHERE host = @host AND NOT (family = ANY(@families::smallint[]))
        """;

    const string Columns = """
        p.host, p.family, p.kind, p.network::text AS network, host(p.gateway) AS gateway,
            coalesce(host(p.first), '') AS first, coalesce(host(p.last), '') AS last, p.cool_down_seconds,
            c.used, c.reserved, c.cooling, c.free
        """;

    const string Counts = """
        LATERAL (SELECT count(*) FILTER (WHERE a.vm IS NOT NULL)::integer AS used,
                count(*) FILTER (WHERE a.vm IS NULL AND a.reserved <> '')::integer AS reserved,
                count(*) FILTER (WHERE a.vm IS NULL AND a.reserved = '' AND a.usable_from > @now)::integer AS cooling,
                count(*) FILTER (WHERE a.vm IS NULL AND a.reserved = ''
                    AND (a.usable_from IS NULL OR a.usable_from <= @now))::integer AS free
            FROM addresses a WHERE a.host = p.host AND (p.family = 4 OR a.address6 IS NOT NULL)) AS c
        """;

    /// <summary>A page of pools, in the order of their hosts.</summary>
    public const string List = $"""
        -- PoolSql.List
        SELECT {Columns}
        FROM (SELECT host, family, kind, network, gateway, first, last, cool_down_seconds
            FROM pools WHERE host > @after ORDER BY host, family LIMIT @limit) AS p, {Counts}
        ORDER BY p.host, p.family
        """;

    public const string OfHost = $"""
        -- PoolSql.OfHost
        SELECT {Columns} FROM pools p, {Counts} WHERE p.host = @host ORDER BY p.family
        """;

    public const string SetCoolDown = """
        -- PoolSql.SetCoolDown
        UPDATE pools SET cool_down_seconds = @seconds WHERE host = @host AND family = 4
        """;
}
