namespace Capsul.Hub.Features.Vms;

/// <summary>Statements for hosts that change or go, and for VMs that got stuck.</summary>
public static class VmRepairSql
{
    /// <summary>All VMs of a host, deleted ones too, locked in the usual order.</summary>
    public const string LockOnHost = """
        -- VmRepairSql.LockOnHost
        SELECT id FROM vms WHERE host = @host ORDER BY id FOR UPDATE
        """;

    public const string LockLiving = """
        -- VmRepairSql.LockLiving
        SELECT id FROM vms WHERE host = @host AND deleted IS NULL ORDER BY id FOR UPDATE
        """;

    public const string CountLiving = """
        -- VmRepairSql.CountLiving
        SELECT count(*)::integer FROM vms WHERE host = @host AND deleted IS NULL
        """;

    /// <summary>
    /// The VMs are gone with their host. Should it come back, it is to remove them: their addresses are free.
    /// </summary>
    public const string Lose = """
        -- VmRepairSql.Lose
        UPDATE vms SET state = 'failed', wanted = 'gone', wanted_generation = @generation, observed = 'unknown',
            deleted = @now, problem = @problem, problem_final = FALSE
        WHERE id = ANY(@ids)
        """;
}
