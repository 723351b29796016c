using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A host as the source or target of a move. Memory in MiB, disk in GiB, null where it is unlimited; all as free.
/// HasCopy: something of the VM is there. KeepsAddress: the VM's address is free there, too.
/// </summary>
public sealed record MoveHostRow(
    string Id, string State, bool Accepts, bool Online, bool MovesDisks, long Memory, decimal? Disk, long DiskFreeMb,
    int? Ports, bool HasAddress, bool KeepsAddress, bool HasCopy);

/// <summary>Statements that find the target of a move. They read the counters of the hosts, not their VMs.</summary>
public static class MovePlaceSql
{
    const string Columns = $"""
        h.id, h.state, h.accepts, h.online, h.moves_disks, h.memory_mb - h.memory_used_mb AS memory,
        floor(nullif(h.disk_mb, 0) * @diskFactor::numeric / 1024) - h.disk_used_gb AS disk, h.disk_free_mb,
        nullif(h.max_vms, 0) - h.vms AS ports,
        EXISTS (SELECT FROM addresses a WHERE a.host = h.id AND {AddressSql.IsFree}) AS has_address,
        EXISTS (SELECT FROM addresses a WHERE a.host = h.id AND {AddressSql.IsFree} AND host(a.address) = @address)
            AS keeps_address,
        EXISTS (SELECT FROM moves m WHERE m.vm = @vm AND m.copy_host = h.id) AS has_copy
        """;

    public const string Find = $"""
        -- MovePlaceSql.Find
        SELECT {Columns} FROM hosts h WHERE h.id = @host
        """;

    /// <summary>
    /// The hosts that could take a VM, best first: where it keeps its address, then those with the most free memory.
    /// </summary>
    public const string Candidates = $"""
        -- MovePlaceSql.Candidates
        SELECT c.id FROM (SELECT {Columns} FROM hosts h
            WHERE h.state = 'joined' AND h.accepts AND h.online AND h.moves_disks AND h.id <> @source
                AND h.memory_mb - h.memory_used_mb >= @memoryMb AND h.disk_free_mb >= @leastFreeMb) AS c
        WHERE (c.disk IS NULL OR c.disk >= @diskGb) AND (c.ports IS NULL OR c.ports > 0) AND c.has_address
            AND NOT c.has_copy
        ORDER BY c.keeps_address DESC, c.memory DESC, c.id LIMIT @limit
        """;

    /// <summary>How many other hosts could take a VM at all, and the most free memory on one of them, MiB.</summary>
    public const string Others = """
        -- MovePlaceSql.Others
        SELECT count(*)::integer AS count, coalesce(max(h.memory_mb - h.memory_used_mb), 0)::bigint AS memory
        FROM hosts h WHERE h.state = 'joined' AND h.accepts AND h.online AND h.moves_disks AND h.id <> @source
        """;
}

/// <summary>What is there besides the source of a move.</summary>
public sealed record OtherHostsRow(int Count, long Memory);
