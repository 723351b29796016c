namespace Capsul.Hub.Features.Vms;

/// <summary>A reinstall that is going on. Keys and their names are lines.</summary>
public sealed record ReinstallRow(
    string Vm, string Was, long Disk, string Image, string ImageSha256, string LoginUser, string Keys, string KeyNames);

/// <summary>The host of a VM, as far as a reinstall depends on it. ImageSha256: its version of the image; null: it has
/// none.</summary>
public sealed record ReinstallHostRow(
    bool Online, bool MakesDisksAnew, long DiskFreeMb, bool Emulated, string? ImageSha256);

/// <summary>Keys as lines, each with the line of its name in the other list.</summary>
public sealed record KeyLinesRow(string Keys, string KeyNames);

/// <summary>Statements of reinstalling a VM in place.</summary>
public static class ReinstallSql
{
    public const string Host = """
        -- ReinstallSql.Host
        SELECT h.online, h.makes_disks_anew, h.disk_free_mb, h.hypervisor LIKE '%(TCG)' AS emulated,
            (SELECT hi.sha256 FROM host_images hi WHERE hi.host = h.id AND hi.image = @image) AS image_sha256
        FROM hosts h WHERE h.id = @host
        """;

    /// <summary>Images that the host of a VM has and that fit it; its own one also if it is not offered any more.
    /// </summary>
    public const string Images = """
        -- ReinstallSql.Images
        SELECT i.id, i.title, i.login_user, i.min_disk_gb, i.min_memory_mb, i.deprecated
        FROM images i JOIN host_images hi ON hi.image = i.id AND hi.host = @host
        WHERE (NOT i.deprecated OR i.id = @image) AND i.min_disk_gb <= @diskGb AND i.min_memory_mb <= @memoryMb
        ORDER BY i.title, i.id
        """;

    /// <summary>The keys that a VM has.</summary>
    public const string OwnKeys = """
        -- ReinstallSql.OwnKeys
        SELECT coalesce(string_agg(type || ' ' || key, E'\n' ORDER BY name), '') AS keys,
            coalesce(string_agg(name, E'\n' ORDER BY name), '') AS key_names
        FROM vm_ssh_keys WHERE vm = @id
        """;

    /// <summary>Chosen keys of an account; null: all.</summary>
    public const string ChosenKeys = """
        -- ReinstallSql.ChosenKeys
        SELECT coalesce(string_agg(type || ' ' || key, E'\n' ORDER BY name, id), '') AS keys,
            coalesce(string_agg(name, E'\n' ORDER BY name, id), '') AS key_names
        FROM ssh_keys WHERE email = @email AND (@keyIds::bigint[] IS NULL OR id = ANY(@keyIds))
        """;

    /// <summary>
    /// The VM is on from another disk. Its number is higher than all before, also than those of a database that was
    /// restored since.
    /// </summary>
    public const string Insert = """
        -- ReinstallSql.Insert
        INSERT INTO reinstalls (vm, was, disk, image, image_sha256, login_user, keys, key_names)
        SELECT v.id, v.state, greatest(extract(epoch FROM @now::timestamptz)::bigint, v.disk + 1, v.observed_disk + 1),
            @image, @imageSha256, @loginUser, @keys, @keyNames
        FROM vms v WHERE v.id = @vm
        """;

    public const string Begin = """
        -- ReinstallSql.Begin
        UPDATE vms SET state = 'reinstalling', wanted = 'on', wanted_generation = @generation,
            stop_grace_seconds = @graceSeconds, restarts = observed_restarts, problem = '', problem_final = FALSE,
            phase = least(phase, 0)
        WHERE id = @vm
        """;

    public const string Find = """
        -- ReinstallSql.Find
        SELECT vm, was, disk, image, image_sha256, login_user, keys, key_names FROM reinstalls WHERE vm = @vm
        """;

    /// <summary>The VM is what it was to become. Its Spoke may remove the old disk.</summary>
    public const string Finish = """
        -- ReinstallSql.Finish
        UPDATE vms v SET state = 'running', wanted_generation = @generation, disk = r.disk, image = r.image,
            image_sha256 = r.image_sha256, login_user = r.login_user
        FROM reinstalls r WHERE r.vm = @vm AND v.id = r.vm
        """;

    public const string PutKeys = """
        -- ReinstallSql.PutKeys
        INSERT INTO vm_ssh_keys (vm, name, type, key)
        SELECT r.vm, k.name, split_part(k.line, ' ', 1), split_part(k.line, ' ', 2)
        FROM reinstalls r, unnest(string_to_array(r.key_names, E'\n'), string_to_array(r.keys, E'\n'))
            AS k (name, line)
        WHERE r.vm = @vm
        """;

    public const string Delete = """
        -- ReinstallSql.Delete
        DELETE FROM reinstalls WHERE vm = @vm
        """;
}
