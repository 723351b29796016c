using Capsul.Hub.Features.Firewalls;

namespace Capsul.Hub.Features.Ports;

/// <summary>
/// An open port of a VM. Protocol: tcp or udp. Via: host or hub. BytesIn: what people sent, through the Hub.
/// </summary>
public sealed record PortRow(
    string Vm, int VmPort, string Protocol, string Via, int Port, DateTime Opened, long BytesIn, long BytesOut)
{
    public PortOfVm Inside => new(VmPort, Protocol);
}

/// <summary>
/// What the decision to open one needs to know. First and last: of the host's ports; null: it has none. Udp: they can
/// lead to UDP ports.
/// </summary>
public sealed record PortFactsRow(long OfVm, long OfAccount, int? First, int? Last, bool Udp);

/// <summary>Where a port of the Hub leads, and who may use it.</summary>
public sealed record PortTargetRow(
    string Vm, int VmPort, string Host, string Observed, string Policy, string Rules);

/// <summary>Statements on ports of VMs that are open to the outside.</summary>
public static class PortSql
{
    const string Columns = "p.vm, p.vm_port, p.protocol, p.via, p.port, p.opened, p.bytes_in, p.bytes_out";

    public const string OfVm = $"""
        -- PortSql.OfVm
        SELECT {Columns} FROM ports p WHERE p.vm = @id ORDER BY p.vm_port, p.protocol, p.via
        """;

    public const string Facts = """
        -- PortSql.Facts
        SELECT (SELECT count(*) FROM ports p WHERE p.vm = v.id) AS of_vm,
            (SELECT count(*) FROM ports p JOIN vms o ON o.id = p.vm
                WHERE o.email = v.email AND o.deleted IS NULL) AS of_account,
            h.forward_first AS first, h.forward_last AS last, h.forwards_udp AS udp
        FROM vms v JOIN hosts h ON h.id = v.host WHERE v.id = @id
        """;

    /// <summary>Any that is free: one that was another VM's a moment ago would get its visitors.</summary>
    const string FreeOfHost = """
        (SELECT n FROM hosts h, generate_series(h.forward_first, h.forward_last) AS n
            WHERE h.id = @host AND (h.forwards_udp OR @protocol <> 'udp')
                AND NOT EXISTS (SELECT FROM ports o WHERE o.host = @host AND o.protocol = @protocol AND o.port = n)
            ORDER BY random() LIMIT 1)
        """;

    /// <summary>No row: none of the host's ports is free.</summary>
    public const string OpenOfHost = $"""
        -- PortSql.OpenOfHost
        INSERT INTO ports AS p (vm, vm_port, protocol, via, host, port, opened)
        SELECT @id, @vmPort, @protocol, 'host', @host, n, @now FROM {FreeOfHost} AS f (n)
        RETURNING {Columns}
        """;

    /// <summary>No row: none of the Hub's ports is free.</summary>
    public const string OpenOfHub = $"""
        -- PortSql.OpenOfHub
        INSERT INTO ports AS p (vm, vm_port, via, port, opened)
        SELECT @id, @vmPort, 'hub', n, @now FROM (SELECT n FROM generate_series(@first::integer, @last::integer) AS n
            WHERE NOT EXISTS (SELECT FROM ports o WHERE o.host IS NULL AND o.port = n) ORDER BY random() LIMIT 1) AS f
        RETURNING {Columns}
        """;

    public const string Close = """
        -- PortSql.Close
        DELETE FROM ports WHERE vm = @id AND via = @via AND protocol = @protocol AND vm_port = @vmPort
        """;

    /// <summary>
    /// The VM is on another host: it has the same port there if that is free, or else another. No row: none is free.
    /// </summary>
    public const string Follow = $"""
        -- PortSql.Follow
        UPDATE ports p SET host = @host, port = f.port
        FROM (SELECT coalesce((SELECT @port::integer FROM hosts h WHERE h.id = @host
                AND @port BETWEEN h.forward_first AND h.forward_last AND (h.forwards_udp OR @protocol <> 'udp')
                AND NOT EXISTS (SELECT FROM ports o WHERE o.host = @host AND o.protocol = @protocol AND o.port = @port
                    AND (o.vm, o.vm_port) <> (@id, @vmPort))), {FreeOfHost}) AS port) AS f
        WHERE p.vm = @id AND p.via = 'host' AND p.protocol = @protocol AND p.vm_port = @vmPort
            AND f.port IS NOT NULL
        """;

    /// <summary>The ports on which the Hub listens.</summary>
    public const string OfHub = $"""
        -- PortSql.OfHub
        SELECT {Columns} FROM ports p WHERE p.host IS NULL
        """;

    public const string Target = $"""
        -- PortSql.Target
        SELECT p.vm, p.vm_port, v.host, v.observed,
            coalesce((SELECT f.policy FROM firewalls f WHERE f.vm = v.id), 'open') AS policy,
            {FirewallSql.RuleLines} AS rules
        FROM ports p JOIN vms v ON v.id = p.vm WHERE p.host IS NULL AND p.port = @port AND v.deleted IS NULL
        """;

    public const string AddBytes = """
        -- PortSql.AddBytes
        UPDATE ports p SET bytes_in = p.bytes_in + n.bytes_in, bytes_out = p.bytes_out + n.bytes_out
        FROM unnest(@ports::integer[], @ins::bigint[], @outs::bigint[]) AS n (port, bytes_in, bytes_out)
        WHERE p.host IS NULL AND p.port = n.port
        """;
}
