using Capsul.Hub.Features.Sizes;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Where a VM is, or was, and how often it has changed hosts. IsRebuilt: its host came by the rebuild that is open, so
/// it has not been told of it yet.
/// </summary>
public sealed record PlacedVmRow(string Id, string Host, int Moves, bool IsRebuilt);

/// <summary>Statements that bring VMs back into a lost database.</summary>
public static class RebuildVmSql
{
    public const string Placed = """
        -- RebuildVmSql.Placed
        SELECT v.id, v.host, v.moves, EXISTS (SELECT FROM rebuilt_hosts h JOIN rebuilds r ON r.id = h.rebuild
                WHERE h.host = v.host AND r.finished IS NULL) AND v.deleted IS NULL AS is_rebuilt
        FROM vms v WHERE v.id = ANY(@ids)
        """;

    /// <summary>The names that accounts have given, each after the account and a space.</summary>
    public const string Names = """
        -- RebuildVmSql.Names
        SELECT email || ' ' || name FROM vms WHERE email = ANY(@emails) AND deleted IS NULL
        """;

    /// <summary>
    /// As they were, except for what is only known after a report. They keep their generation, under which a guest may
    /// have shut itself down. A price that is not the size's is the VM's own.
    /// </summary>
    public const string Insert = $"""
        -- RebuildVmSql.Insert
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            price_from, vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, has_run, moves)
        SELECT n.id, n.email, n.name, n.size, n.image, n.sum, n.login_user, @host, n.created, n.dollars, p.active_from,
            n.vcpus, n.memory_mb, n.disk_gb, CASE n.wanted WHEN 'on' THEN 'running' ELSE 'stopped' END, n.wanted,
            n.generation, n.has_run, n.moves
        FROM unnest(@ids::text[], @emails::text[], @names::text[], @sizes::text[], @images::text[], @sums::text[],
            @loginUsers::text[], @created::timestamptz[], @dollars::numeric[], @vcpus::integer[], @memoryMb::integer[],
            @diskGb::integer[], @wanted::text[], @generations::bigint[], @hasRun::boolean[],
            @moves::integer[])
            AS n (id, email, name, size, image, sum, login_user, created, dollars, vcpus, memory_mb, disk_gb, wanted,
                generation, has_run, moves)
            JOIN sizes s ON s.id = n.size LEFT JOIN {PriceSql.InForce} AS p ON p.dollars_per_month = n.dollars
        """;

    /// <summary>VMs of which another host had an old copy, which was taken in first.</summary>
    public const string TakeOver = """
        -- RebuildVmSql.TakeOver
        UPDATE vms v SET host = @host, state = CASE n.wanted WHEN 'on' THEN 'running' ELSE 'stopped' END,
            wanted = n.wanted, wanted_generation = n.generation, observed = 'unknown', observed_generation = 0,
            has_run = v.has_run OR n.has_run, moves = n.moves
        FROM unnest(@ids::text[], @wanted::text[], @generations::bigint[], @hasRun::boolean[], @moves::integer[])
            AS n (id, wanted, generation, has_run, moves)
        WHERE v.id = n.id
        """;

    public const string InsertKeys = """
        -- RebuildVmSql.InsertKeys
        INSERT INTO vm_ssh_keys (vm, name, type, key)
        SELECT vm, name, type, key FROM unnest(@vms::text[], @names::text[], @types::text[], @keys::text[])
            AS n (vm, name, type, key)
        ON CONFLICT DO NOTHING
        """;
}
