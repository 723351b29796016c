namespace Capsul.Hub.Features.Hosts;

/// <summary>A host, locked for an operator's decision.</summary>
public sealed record HostStateRow(
    string Id, string State, bool Accepts, bool Online, DateTime? LastSeen, string DrainReason);

/// <summary>A host that is being evacuated.</summary>
public sealed record EvacuatedHostRow(string Id, string To, string Reason);

/// <summary>What operators do with hosts.</summary>
public static class HostChangeSql
{
    public const string Lock = """
        -- HostChangeSql.Lock
        SELECT id, state, accepts, online, last_seen, drain_reason FROM hosts WHERE id = @id FOR UPDATE
        """;

    public const string Drain = """
        -- HostChangeSql.Drain
        UPDATE hosts SET accepts = FALSE, drain_reason = @reason WHERE id = @id
        """;

    public const string Undrain = """
        -- HostChangeSql.Undrain
        UPDATE hosts SET accepts = TRUE, drain_reason = '', evacuating = FALSE, evacuate_to = '' WHERE id = @id
        """;

    public const string Evacuate = """
        -- HostChangeSql.Evacuate
        UPDATE hosts SET accepts = FALSE, drain_reason = @reason, evacuating = TRUE, evacuate_to = @to
        WHERE id = @id
        """;

    /// <summary>Hosts whose VMs are to be moved away, and to where (empty: anywhere).</summary>
    public const string Evacuating = """
        -- HostChangeSql.Evacuating
        SELECT id, evacuate_to AS "to", drain_reason AS reason FROM hosts WHERE evacuating AND state = 'joined'
        ORDER BY id
        """;

    /// <summary>Null: the setting of the Hub.</summary>
    public const string SetBuildSlots = """
        -- HostChangeSql.SetBuildSlots
        UPDATE hosts SET build_slots = @slots WHERE id = @id
        """;

    /// <summary>The new generation announces it, under both names.</summary>
    public const string Rename = """
        -- HostChangeSql.Rename
        UPDATE hosts SET id = @name, generation = generation + 1 WHERE id = @id
        """;

    /// <summary>Above that of every VM, so that its Spoke is told of all of them.</summary>
    public const string RaiseGeneration = """
        -- HostChangeSql.RaiseGeneration
        UPDATE hosts h SET generation = 1 + (SELECT max(v.wanted_generation) FROM vms v WHERE v.host = h.id)
        WHERE h.id = ANY(@ids) AND h.generation < (SELECT max(v.wanted_generation) FROM vms v WHERE v.host = h.id)
        """;

    public const string DropTokens = """
        -- HostChangeSql.DropTokens
        DELETE FROM join_tokens WHERE host = @id
        """;

    /// <summary>
    /// The row stays for the VMs that were on it. The new generation makes a Spoke that is still connected notice.
    /// </summary>
    public const string MarkRemoved = """
        -- HostChangeSql.MarkRemoved
        UPDATE hosts SET state = 'removed', accepts = FALSE, online = FALSE, local = FALSE, problem = '',
            evacuating = FALSE, evacuate_to = '', drain_reason = '', certificate = NULL, old_certificate = NULL,
            certificate_ends = NULL,
            presented_token = NULL, given_token = NULL, boot_id = '', generation = generation + 1
        WHERE id = @id
        """;

    /// <summary>No VM was ever on it, so nothing needs its row.</summary>
    public const string DeleteUnused = """
        -- HostChangeSql.DeleteUnused
        DELETE FROM hosts h WHERE h.id = @id AND h.state = 'removed'
            AND NOT EXISTS (SELECT FROM vms v WHERE v.host = h.id)
            AND NOT EXISTS (SELECT FROM moves m WHERE h.id IN (m.from_host, m.to_host, m.copy_host))
        """;
}
