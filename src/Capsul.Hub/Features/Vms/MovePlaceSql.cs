using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A host as the source or target of a move. Memory in MiB, disk in GiB, null where it is unlimited; all as free.
/// HasCopy: something of the VM is there. HasAddress: it has as many as the VM. KeepsAddress: the VM's address is free
/// there, too. Further: how many the VM has besides its first. First: of the host's pool; GivesMore: VMs can have
/// further ones there.
/// </summary>
public sealed record MoveHostRow(
    string Id, string State, bool Accepts, bool Online, bool MovesDisks, long Memory, decimal? Disk, long DiskFreeMb,
    int? Ports, bool HasAddress, bool KeepsAddress, bool HasCopy, int Further,
    string First, bool GivesMore)
{
    /// <summary>The VM can have further addresses there, if it has any.</summary>
    public bool TakesFurther => Further == 0 || (GivesMore && PublicAddress.Is(First));
}

/// <summary>Statements that find the target of a move. They read the counters of the hosts, not their VMs.</summary>
public static class MovePlaceSql
{
    const string Further =
        "(SELECT count(*)::integer FROM vm_extras x WHERE x.vm = @vm AND x.removed IS NULL)";

    const string Columns = $"""
        h.id, h.state, h.accepts, h.online, h.moves_disks, h.memory_mb - h.memory_used_mb AS memory,
        floor(nullif(h.disk_mb, 0) * @diskFactor::numeric / 1024) - h.disk_used_gb AS disk, h.disk_free_mb,
        nullif(h.max_vms, 0) - h.vms AS ports,
        (SELECT count(*) FROM (SELECT FROM addresses a WHERE a.host = h.id AND {AddressSql.IsFree}
            LIMIT 1 + {Further}) AS f) > {Further} AS has_address,
        EXISTS (SELECT FROM addresses a WHERE a.host = h.id AND {AddressSql.IsFree} AND host(a.address) = @address)
            AS keeps_address,
        EXISTS (SELECT FROM moves m WHERE m.vm = @vm AND m.copy_host = h.id) AS has_copy,
        {Further} AS further,
        coalesce((SELECT host(p.first) FROM pools p WHERE p.host = h.id AND p.family = 4), '') AS first,
        h.gives_more_addresses AS gives_more
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
            AND NOT c.has_copy AND (c.further = 0
                OR c.gives_more AND NOT nullif(c.first, '')::inet <<= ANY (@specialRanges::text[]::inet[]))
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
