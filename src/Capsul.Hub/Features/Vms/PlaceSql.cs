using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Vms;

/// <summary>A host with its version of the image, enough capacity for the size, and a free address.</summary>
/// <param name="Busy">Its build slots are taken, or others wait for them already.</param>
public sealed record PlaceRow(string Host, string ImageSha256, bool Emulated, bool Busy);

/// <summary>
/// What the hosts that could take a VM have, for the sentence of a refusal: how many are online, how many of those have
/// the image, and the most that one of the latter has left. Memory in MiB, disk in GiB; null: unlimited.
/// Pools: those of hosts without a free address.
/// </summary>
public sealed record ShortageRow(
    int Online, int WithImage, long Memory, decimal? Disk, int? Ports, bool Addresses, string Pools,
    bool DiskFree);

/// <summary>Statements that find the host of a new VM. They read the counters of the hosts, not their VMs.</summary>
public static class PlaceSql
{
    const string Takes = "h.state = 'joined' AND h.accepts AND h.online";

    /// <summary>
    /// Whether a host is online, accepts VMs, and has an address, a relay port, the memory, and the disk space. Disks
    /// are thinly provisioned: @diskFactor times the file system's size may be allocated, and 4 GiB must be free.
    /// </summary>
    internal const string HasRoom = $"""
        {Takes} AND h.disk_free_mb >= 4096 AND h.memory_mb - h.memory_used_mb >= @memoryMb
            AND (h.max_vms = 0 OR h.max_vms > h.vms)
            AND (h.disk_mb = 0 OR h.disk_mb * @diskFactor::numeric >= 1024::bigint * (@diskGb + h.disk_used_gb))
            AND EXISTS (SELECT FROM addresses a WHERE a.host = h.id AND {AddressSql.IsFree})
        """;

    /// <summary>
    /// The hosts with room that have the most free memory, best first: those that can build immediately, then those
    /// with the fewest VMs of the account (one host that fails should not take all of them), then those whose scarcest
    /// resource is used the least.
    /// </summary>
    const string Best = $"""
        SELECT near.id, row_number() OVER (ORDER BY near.busy, near.own, near.fullness, near.id) AS rank
        FROM (SELECT h.id, {BuildQueueSql.Busy} AS busy,
                (SELECT count(*) FROM vms v WHERE v.host = h.id AND v.email = @email AND v.deleted IS NULL) AS own,
                greatest((h.memory_used_mb + @memoryMb)::numeric / h.memory_mb,
                    (h.vcpus_used + @vcpus)::numeric / (nullif(h.cpus, 0) * 8),
                    1024 * (h.disk_used_gb + @diskGb)::numeric / nullif(h.disk_mb * @diskFactor::numeric, 0))
                    AS fullness
            FROM hosts h
            WHERE {HasRoom} AND NOT (h.id = ANY(@not))
                AND EXISTS (SELECT FROM host_images hi WHERE hi.host = h.id AND hi.image = @image)
            ORDER BY h.memory_mb - h.memory_used_mb DESC, h.id DESC LIMIT @limit) AS near
        """;

    /// <summary>
    /// Locks the best host that nobody else has locked. What its row says is checked again with the lock; what other
    /// tables say must be, by <see cref="Check"/>.
    /// </summary>
    public const string LockFree = $"""
        -- PlaceSql.LockFree
        SELECT h.id FROM hosts h JOIN ({Best}) AS best ON best.id = h.id
        WHERE {HasRoom}
        ORDER BY best.rank LIMIT 1 FOR NO KEY UPDATE OF h SKIP LOCKED
        """;

    /// <summary>From here on the lock can be given back.</summary>
    internal const string SaveAndLockFree = $"-- PlaceSql.SaveAndLockFree\nSAVEPOINT {Before};\n{LockFree}";

    /// <summary>Name of the savepoint.</summary>
    internal const string Before = "place";

    /// <summary>The same without a lock: when there is a row, a host is worth waiting for.</summary>
    public const string FindBest = $"""
        -- PlaceSql.FindBest
        SELECT best.id FROM ({Best}) AS best ORDER BY best.rank LIMIT 1
        """;

    public const string Lock = """
        -- PlaceSql.Lock
        SELECT id FROM hosts WHERE id = @host FOR NO KEY UPDATE
        """;

    /// <summary>
    /// Whether a locked host has enough capacity. A separate statement after the lock: one that waits for a lock
    /// sees other tables as they were before the wait.
    /// </summary>
    public const string Check = $"""
        -- PlaceSql.Check
        SELECT h.id AS host, hi.sha256 AS image_sha256, h.hypervisor LIKE '%(TCG)' AS emulated,
            {BuildQueueSql.Busy} AS busy
        FROM hosts h JOIN host_images hi ON hi.host = h.id AND hi.image = @image
        WHERE h.id = @host AND {HasRoom}
        """;

    /// <summary>Why no host has room.</summary>
    public const string Shortage = $"""
        -- PlaceSql.Shortage
        SELECT count(*)::integer AS online, count(*) FILTER (WHERE s.image)::integer AS with_image,
            coalesce(max(s.memory) FILTER (WHERE s.image), 0)::bigint AS memory,
            CASE WHEN bool_or(s.disk IS NULL AND s.image) THEN NULL
                ELSE coalesce(max(s.disk) FILTER (WHERE s.image), 0) END AS disk,
            CASE WHEN bool_or(s.ports IS NULL AND s.image) THEN NULL
                ELSE coalesce(max(s.ports) FILTER (WHERE s.image), 0) END AS ports,
            coalesce(bool_or(s.addresses AND s.image), FALSE) AS addresses,
            coalesce(string_agg(s.pool, ', ' ORDER BY s.pool) FILTER (WHERE s.image AND NOT s.addresses), '') AS pools,
            coalesce(bool_or(s.disk_free AND s.image), FALSE) AS disk_free
        FROM (SELECT EXISTS (SELECT FROM host_images hi WHERE hi.host = h.id AND hi.image = @image) AS image,
                h.memory_mb - h.memory_used_mb AS memory,
                floor(nullif(h.disk_mb, 0) * @diskFactor::numeric / 1024) - h.disk_used_gb AS disk,
                nullif(h.max_vms, 0) - h.vms AS ports,
                EXISTS (SELECT FROM addresses a WHERE a.host = h.id AND {AddressSql.IsFree}) AS addresses,
                h.id || (SELECT ' (' || p.network || ')' FROM pools p WHERE p.host = h.id AND p.family = 4) AS pool,
                h.disk_free_mb >= 4096 AS disk_free
            FROM hosts h WHERE {Takes}) AS s
        """;
}
