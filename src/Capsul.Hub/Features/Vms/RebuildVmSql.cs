namespace Capsul.Hub.Features.Vms;

/// <summary>Where a VM is, or was.</summary>
public sealed record PlacedVmRow(string Id, string Host);

/// <summary>Statements that bring VMs back into a lost database.</summary>
public static class RebuildVmSql
{
    public const string Placed = """
        -- RebuildVmSql.Placed
        SELECT id, host FROM vms WHERE id = ANY(@ids)
        """;

    /// <summary>The names that accounts have given, each after the account and a space.</summary>
    public const string Names = """
        -- RebuildVmSql.Names
        SELECT email || ' ' || name FROM vms WHERE email = ANY(@emails) AND deleted IS NULL
        """;

    /// <summary>
    /// As they were, except for what is only known after a report. They keep their generation, under which a guest may
    /// have shut itself down.
    /// </summary>
    public const string Insert = """
        -- RebuildVmSql.Insert
        INSERT INTO vms (id, email, name, size, image, image_sha256, login_user, host, created, dollars_per_month,
            vcpus, memory_mb, disk_gb, state, wanted, wanted_generation, has_run)
        SELECT id, email, name, size, image, sum, login_user, @host, created, dollars, vcpus, memory_mb, disk_gb,
            CASE wanted WHEN 'on' THEN 'running' ELSE 'stopped' END, wanted, generation, has_run
        FROM unnest(@ids::text[], @emails::text[], @names::text[], @sizes::text[], @images::text[], @sums::text[],
            @loginUsers::text[], @created::timestamptz[], @dollars::numeric[], @vcpus::integer[], @memoryMb::integer[],
            @diskGb::integer[], @wanted::text[], @generations::bigint[], @hasRun::boolean[])
            AS n (id, email, name, size, image, sum, login_user, created, dollars, vcpus, memory_mb, disk_gb, wanted,
                generation, has_run)
        """;

    public const string InsertKeys = """
        -- RebuildVmSql.InsertKeys
        INSERT INTO vm_ssh_keys (vm, name, type, key)
        SELECT vm, name, type, key FROM unnest(@vms::text[], @names::text[], @types::text[], @keys::text[])
            AS n (vm, name, type, key)
        ON CONFLICT DO NOTHING
        """;
}
