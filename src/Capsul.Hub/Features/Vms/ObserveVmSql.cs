namespace Capsul.Hub.Features.Vms;

public static class ObserveVmSql
{
    public const string Observe = """
        -- ObserveVmSql.Observe
        UPDATE vms SET observed = @observed, observed_generation = @generation, observed_restarts = @restarts, observed_at = @now,
            phase = @phase, ssh_host = CASE WHEN @sshHost = '' THEN ssh_host ELSE @sshHost END,
            ssh_port = CASE WHEN @sshPort = 0 THEN ssh_port ELSE @sshPort END,
            console_tail = CASE WHEN @consoleTail = '' THEN console_tail ELSE @consoleTail END,
            problem = CASE WHEN deleted IS NULL AND wanted <> 'gone' THEN @problem ELSE problem END, problem_final = @problemFinal
        WHERE id = @id
        """;

    public const string PutHostKey = """
        -- ObserveVmSql.PutHostKey
        INSERT INTO vm_ssh_host_keys (vm, type, key, fingerprint) VALUES (@vm, @type, @key, @fingerprint)
        ON CONFLICT (vm, type) DO UPDATE SET key = excluded.key, fingerprint = excluded.fingerprint
        """;

    /// <summary>
    /// Living VMs of hosts that have been silent since before @silent, or whose hypervisor does not answer: nobody knows how they are.
    /// </summary>
    public const string ListSilent = """
        -- ObserveVmSql.ListSilent
        SELECT v.id, h.last_seen
        FROM vms v JOIN hosts h ON h.id = v.host
        WHERE v.deleted IS NULL AND v.observed IN ('on', 'off') AND h.last_seen < @silent
        ORDER BY v.id
        """;

    public const string Forget = """
        -- ObserveVmSql.Forget
        UPDATE vms SET observed = 'unknown' WHERE id = @id AND observed IN ('on', 'off')
        """;
}

/// <summary>A VM of which nothing has been heard since <paramref name="LastSeen"/>.</summary>
public sealed record SilentVmRow(string Id, DateTime? LastSeen);
