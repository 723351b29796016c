namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A rescue that is not over. Was: the VM's state before its operation. Keys are lines; host keys are lines of type,
/// key and fingerprint.
/// </summary>
public sealed record RescueRow(
    string Vm, long Number, string Actor, DateTime Began, string Was, string LoginUser, string HostKeys, bool Ending);

/// <summary>
/// The host of a VM, as far as a rescue depends on it. Image: its version of the rescue system; null: it has none.
/// </summary>
public sealed record RescueHostRow(
    bool Online, bool Rescues, bool Emulated, string? ImageSha256, string? LoginUser, int MinMemoryMb);

/// <summary>Statements of rescues.</summary>
public static class RescueSql
{
    public const string Host = """
        -- RescueSql.Host
        SELECT h.online, h.rescues, h.hypervisor LIKE '%(TCG)' AS emulated, i.sha256 AS image_sha256, i.login_user,
            coalesce(i.min_memory_mb, 0) AS min_memory_mb
        FROM hosts h LEFT JOIN host_images i ON i.host = h.id AND i.image = @image WHERE h.id = @host
        """;

    /// <summary>All keys of an account, as lines.</summary>
    public const string Keys = """
        -- RescueSql.Keys
        SELECT coalesce(string_agg(type || ' ' || key, E'\n' ORDER BY name, id), '') FROM ssh_keys
        WHERE email = @email
        """;

    /// <summary>Its number is higher than all before, also than those of a database that was restored since.</summary>
    public const string Insert = """
        -- RescueSql.Insert
        INSERT INTO rescues (vm, number, actor, began, was, image, image_sha256, login_user, keys)
        SELECT v.id, greatest(extract(epoch FROM @now::timestamptz)::bigint, v.observed_rescue + 1,
            1 + coalesce((SELECT max(r.number) FROM rescues r WHERE r.vm = v.id), 0)),
            @actor, @now, v.state, @image, @imageSha256, @loginUser, @keys
        FROM vms v WHERE v.id = @vm
        """;

    /// <summary>The VM is on from something else than before.</summary>
    public const string Restart = """
        -- RescueSql.Restart
        UPDATE vms SET state = 'restarting', wanted = 'on', wanted_generation = @generation,
            stop_grace_seconds = @graceSeconds, restarts = observed_restarts, problem = '', problem_final = FALSE,
            phase = least(phase, 0)
        WHERE id = @vm
        """;

    /// <summary>The one that is not over.</summary>
    public const string Find = """
        -- RescueSql.Find
        SELECT vm, number, actor, began, was, login_user, host_keys, ending FROM rescues
        WHERE vm = @vm AND ended IS NULL
        """;

    public const string BeginEnd = """
        -- RescueSql.BeginEnd
        UPDATE rescues r SET ending = TRUE, was = v.state FROM vms v
        WHERE r.vm = @vm AND r.ended IS NULL AND v.id = r.vm
        """;

    /// <summary>It goes on.</summary>
    public const string Keep = """
        -- RescueSql.Keep
        UPDATE rescues SET ending = FALSE WHERE vm = @vm AND ended IS NULL
        """;

    public const string End = """
        -- RescueSql.End
        UPDATE rescues SET ended = @now WHERE vm = @vm AND ended IS NULL
        """;

    /// <summary>Host keys of rescue systems that VMs were started from.</summary>
    public const string PutHostKeys = """
        -- RescueSql.PutHostKeys
        UPDATE rescues r SET host_keys = n.host_keys
        FROM unnest(@vms::text[], @numbers::bigint[], @hostKeys::text[]) AS n (vm, number, host_keys)
        WHERE r.vm = n.vm AND r.number = n.number AND r.ended IS NULL AND r.host_keys <> n.host_keys
        """;
}
