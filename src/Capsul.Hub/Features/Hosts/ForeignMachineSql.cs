namespace Capsul.Hub.Features.Hosts;

/// <summary>A machine that a host's libvirt has and Capsul did not make. Memory in MiB, disk in GiB.</summary>
/// <param name="Refusal">Why it cannot be adopted; empty if it can.</param>
public sealed record ForeignMachineRow(
    string Uuid, string Name, string Power, int Vcpus, int MemoryMb, int DiskGb, string DiskFormat, string Mac,
    string Refusal);

/// <summary>Statements over <c>foreign_machines</c>: what hosts report of them.</summary>
public static class ForeignMachineSql
{
    /// <summary>What the host reported last; it reports all that there are.</summary>
    public const string Put = """
        -- ForeignMachineSql.Put
        INSERT INTO foreign_machines AS f
            (host, uuid, name, power, vcpus, memory_mb, disk_gb, disk_format, mac, refusal)
        SELECT @host, n.uuid, n.name, n.power, n.vcpus, n.memory_mb, n.disk_gb, n.disk_format, n.mac, n.refusal
        FROM unnest(@uuids::text[], @names::text[], @powers::text[], @vcpus::integer[], @memoryMb::integer[],
            @diskGb::integer[], @formats::text[], @macs::text[], @refusals::text[])
            AS n (uuid, name, power, vcpus, memory_mb, disk_gb, disk_format, mac, refusal)
        WHERE EXISTS (SELECT FROM hosts h WHERE h.id = @host AND h.state = 'joined')
        ORDER BY n.uuid
        ON CONFLICT (host, uuid) DO UPDATE SET name = excluded.name, power = excluded.power, vcpus = excluded.vcpus,
            memory_mb = excluded.memory_mb, disk_gb = excluded.disk_gb, disk_format = excluded.disk_format,
            mac = excluded.mac, refusal = excluded.refusal
        """;

    public const string DropOthers = """
        -- ForeignMachineSql.DropOthers
        DELETE FROM foreign_machines WHERE host = @host AND NOT (uuid = ANY(@uuids))
        """;

    const string Columns = "f.uuid, f.name, f.power, f.vcpus, f.memory_mb, f.disk_gb, f.disk_format, f.mac, f.refusal";

    /// <summary>Those of a host that no VM is being made of.</summary>
    public const string OfHost = $"""
        -- ForeignMachineSql.OfHost
        SELECT {Columns} FROM foreign_machines f
        WHERE f.host = @host AND NOT EXISTS (
            SELECT FROM vms v WHERE v.host = f.host AND v.adopt = f.uuid AND v.adopt <> '' AND v.deleted IS NULL)
        ORDER BY f.name, f.uuid LIMIT 200
        """;

    /// <summary>One by its name, or its UUID.</summary>
    public const string Find = $"""
        -- ForeignMachineSql.Find
        SELECT {Columns} FROM foreign_machines f WHERE f.host = @host AND (f.name = @domain OR f.uuid = @domain)
        ORDER BY f.uuid = @domain DESC LIMIT 1
        """;

    public const string ForgetHost = """
        -- ForeignMachineSql.ForgetHost
        DELETE FROM foreign_machines WHERE host = @host
        """;
}
