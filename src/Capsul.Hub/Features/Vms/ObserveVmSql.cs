namespace Capsul.Hub.Features.Vms;

public static class ObserveVmSql
{
    public const string Observe = """
        -- ObserveVmSql.Observe
        UPDATE vms SET observed = @observed, observed_generation = @generation, observed_restarts = @restarts,
            observed_at = @now, phase = @phase, ssh_host = CASE WHEN @sshHost = '' THEN ssh_host ELSE @sshHost END,
            ssh_port = CASE WHEN @sshPort = 0 THEN ssh_port ELSE @sshPort END,
            console_tail = CASE WHEN @consoleTail = '' THEN console_tail ELSE @consoleTail END,
            problem = CASE WHEN deleted IS NULL AND wanted <> 'gone' THEN @problem ELSE problem END,
            problem_final = @problemFinal,
            has_run = has_run OR @observed = 'on'
        WHERE id = @id
        """;

    public const string PutHostKey = """
        -- ObserveVmSql.PutHostKey
        INSERT INTO vm_ssh_host_keys (vm, type, key, fingerprint) VALUES (@vm, @type, @key, @fingerprint)
        ON CONFLICT (vm, type) DO UPDATE SET key = excluded.key, fingerprint = excluded.fingerprint
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
