namespace Capsul.Hub.Features.Hosts;

/// <summary>A machine that a host has and the database does not know. Power: on, off or unknown.</summary>
public sealed record UnknownVmRow(string Host, string Vm, string Power, DateTime FirstSeen, DateTime LastSeen);

/// <summary>Statements over <c>unknown_vms</c>: they are left alone and remembered.</summary>
public static class UnknownVmSql
{
    /// <summary>
    /// Remembers them; a host may have a thousand. Written again only when the power changed, or a while after.
    /// </summary>
    public const string Put = """
        -- UnknownVmSql.Put
        INSERT INTO unknown_vms AS u (host, vm, power, first_seen, last_seen)
        SELECT @host, n.vm, n.power, @now, @now FROM unnest(@vms::text[], @powers::text[]) AS n (vm, power)
        WHERE EXISTS (SELECT FROM hosts h WHERE h.id = @host AND h.state = 'joined')
            AND (SELECT count(*) FROM unknown_vms o WHERE o.host = @host) < 1000
        ORDER BY n.vm LIMIT 1000
        ON CONFLICT (host, vm) DO UPDATE SET power = excluded.power, last_seen = excluded.last_seen
        WHERE u.power <> excluded.power OR u.last_seen < excluded.last_seen - interval '5 minutes'
        """;

    /// <summary>They are no longer there, or known.</summary>
    public const string Drop = """
        -- UnknownVmSql.Drop
        DELETE FROM unknown_vms WHERE host = @host AND vm = ANY(@vms)
        """;

    /// <summary>The host has reported everything that it has.</summary>
    public const string DropOthers = """
        -- UnknownVmSql.DropOthers
        DELETE FROM unknown_vms WHERE host = @host AND NOT (vm = ANY(@vms))
        """;

    public const string OfHost = """
        -- UnknownVmSql.OfHost
        SELECT host, vm, power, first_seen, last_seen FROM unknown_vms WHERE host = @host ORDER BY vm LIMIT 200
        """;

    public const string ForgetHost = """
        -- UnknownVmSql.ForgetHost
        DELETE FROM unknown_vms WHERE host = @host
        """;
}
