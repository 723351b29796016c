using Capsul.Wire;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// What is known of a VM, as far as reports change it. Host keys: "type key" and a line end, for each; those of the
/// rescue system it is in, with the fingerprint. Key change: the number of the keys that wait for the next start; 0:
/// none do.
/// </summary>
public sealed record ObservedRow(
    string Id, string Email, string Host, DateTime? Deleted, string State, string Wanted, long WantedGeneration,
    string Observed, long ObservedGeneration, int ObservedRestarts, DateTime? ObservedAt, int Phase, string SshHost,
    int SshPort, string ConsoleTail, string Problem, bool ProblemFinal, bool HasRun, bool Paused, long ObservedDisk,
    long ObservedRescue, string HostKeys, string RescueKeys, long KeyChange)
{
    /// <summary>It was deleted and reported gone, and is there again.</summary>
    public bool IsBack(VmObservation report) =>
        this is { Deleted: not null, Observed: "gone" } && report.Power is Power.On or Power.Off;

    /// <summary>The report is as new as what is known, and answers something that was sent under this epoch.</summary>
    public bool Accepts(VmObservation report, long epoch) => report.Epoch == epoch
        && report.Generation >= ObservedGeneration && report.Generation <= WantedGeneration;
}

public static class ObserveVmSql
{
    const string Columns = """
        v.id, v.email, v.host, v.deleted, v.state, v.wanted, v.wanted_generation, v.observed, v.observed_generation,
        v.observed_restarts, v.observed_at, v.phase, v.ssh_host, v.ssh_port, v.console_tail, v.problem,
        v.problem_final, v.has_run, v.paused, v.observed_disk, v.observed_rescue,
        (SELECT coalesce(string_agg(k.type || ' ' || k.key || E'\n', ''), '') FROM vm_ssh_host_keys k
            WHERE k.vm = v.id) AS host_keys,
        coalesce((SELECT r.host_keys FROM rescues r WHERE r.vm = v.id AND r.ended IS NULL), '') AS rescue_keys,
        coalesce((SELECT c.number FROM key_changes c WHERE c.vm = v.id AND c.done IS NULL), 0) AS key_change
        """;

    /// <summary>The VMs of a host with these IDs.</summary>
    public const string Find = $"""
        -- ObserveVmSql.Find
        SELECT {Columns} FROM vms v WHERE v.id = ANY(@ids) AND v.host = @host
        """;

    /// <summary>The same, and all that should be there.</summary>
    public const string FindAll = $"""
        -- ObserveVmSql.FindAll
        SELECT {Columns} FROM vms v WHERE v.host = @host AND v.deleted IS NULL
        UNION ALL
        SELECT {Columns} FROM vms v WHERE v.id = ANY(@ids) AND v.host = @host AND v.deleted IS NOT NULL
        """;

    public const string Lock = $"""
        -- ObserveVmSql.Lock
        SELECT {Columns} FROM vms v WHERE v.id = ANY(@ids) AND v.host = @host ORDER BY v.id FOR UPDATE OF v
        """;

    public const string Observe = """
        -- ObserveVmSql.Observe
        UPDATE vms v SET observed = n.observed, observed_generation = n.generation, observed_restarts = n.restarts,
            observed_at = @now, phase = n.phase,
            ssh_host = CASE WHEN n.ssh_host = '' THEN v.ssh_host ELSE n.ssh_host END,
            ssh_port = CASE WHEN n.ssh_port = 0 THEN v.ssh_port ELSE n.ssh_port END,
            console_tail = CASE WHEN n.console_tail = '' THEN v.console_tail ELSE n.console_tail END,
            problem = CASE WHEN v.deleted IS NULL AND v.wanted <> 'gone' THEN n.problem ELSE v.problem END,
            problem_final = n.final, paused = n.paused, observed_disk = n.disk,
            observed_rescue = n.rescue,
            has_run = v.has_run OR n.observed = 'on'
        FROM unnest(@ids::text[], @observed::text[], @generations::bigint[], @restarts::integer[], @phases::integer[],
            @sshHosts::text[], @sshPorts::integer[], @consoleTails::text[], @problems::text[], @finals::boolean[],
            @paused::boolean[], @disks::bigint[], @rescues::bigint[])
            AS n (id, observed, generation, restarts, phase, ssh_host, ssh_port, console_tail, problem, final, paused,
                disk, rescue)
        WHERE v.id = n.id
        """;

    public const string PutHostKeys = """
        -- ObserveVmSql.PutHostKeys
        INSERT INTO vm_ssh_host_keys AS k (vm, type, key, fingerprint)
        SELECT vm, type, key, fingerprint
        FROM unnest(@vms::text[], @types::text[], @keys::text[], @fingerprints::text[])
            AS n (vm, type, key, fingerprint)
        ON CONFLICT (vm, type) DO UPDATE SET key = excluded.key, fingerprint = excluded.fingerprint
        WHERE k.key <> excluded.key
        """;

    /// <summary>Those that VMs no longer have: what is reported is all of them.</summary>
    public const string DropHostKeys = """
        -- ObserveVmSql.DropHostKeys
        DELETE FROM vm_ssh_host_keys k
        WHERE k.vm = ANY(@vms) AND NOT EXISTS (SELECT FROM unnest(@vms::text[], @types::text[]) AS n (vm, type)
            WHERE n.vm = k.vm AND n.type = k.type)
        """;

    /// <summary>A VM that was reported gone and still exists.</summary>
    public const string NotGone = """
        -- ObserveVmSql.NotGone
        UPDATE vms SET observed = 'unknown' WHERE id = @id
        """;

    /// <summary>The VMs of a host whose state was taken as known, locked in the usual order.</summary>
    public const string LockKnown = """
        -- ObserveVmSql.LockKnown
        SELECT id FROM vms WHERE host = @host AND deleted IS NULL AND observed IN ('on', 'off') ORDER BY id FOR UPDATE
        """;

    public const string Forget = """
        -- ObserveVmSql.Forget
        UPDATE vms SET observed = 'unknown' WHERE id = ANY(@ids) AND observed IN ('on', 'off')
        """;
}
