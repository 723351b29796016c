namespace Capsul.Hub.Features.Vms;

/// <summary>A VM on a host that is being evacuated, and why it was not moved when that was last tried.</summary>
public sealed record MoveRefusalRow(string Vm, DateTime At, string Problem);

/// <summary>Statements of the evacuation of hosts.</summary>
public static class MoveRefusalSql
{
    public const string Put = """
        -- MoveRefusalSql.Put
        INSERT INTO move_refusals (vm, at, problem) VALUES (@vm, @now, @problem)
        ON CONFLICT (vm) DO UPDATE SET at = excluded.at, problem = excluded.problem
        """;

    /// <summary>A move came back, from a host that is being evacuated.</summary>
    public const string PutReturned = """
        -- MoveRefusalSql.PutReturned
        INSERT INTO move_refusals (vm, at, problem)
        SELECT @vm, @now, @problem FROM hosts WHERE id = @host AND evacuating
        ON CONFLICT (vm) DO UPDATE SET at = excluded.at, problem = excluded.problem
        """;

    public const string Forget = """
        -- MoveRefusalSql.Forget
        DELETE FROM move_refusals WHERE vm = @vm
        """;

    /// <summary>The host is no longer evacuated.</summary>
    public const string ForgetHost = """
        -- MoveRefusalSql.ForgetHost
        DELETE FROM move_refusals r USING vms v WHERE v.id = r.vm AND v.host = @host
        """;

    /// <summary>The host's VMs that could not be moved.</summary>
    public const string OfHost = """
        -- MoveRefusalSql.OfHost
        SELECT r.vm, r.at, r.problem FROM move_refusals r JOIN vms v ON v.id = r.vm
        WHERE v.host = @host AND v.deleted IS NULL ORDER BY r.vm LIMIT 200
        """;

    /// <summary>
    /// The next VMs to be moved away from a host: those that were not refused lately, and have not come back from a
    /// move lately.
    /// </summary>
    public const string Next = """
        -- MoveRefusalSql.Next
        SELECT v.id FROM vms v LEFT JOIN move_refusals r ON r.vm = v.id
        WHERE v.host = @host AND v.deleted IS NULL AND v.state IN ('running', 'stopped')
            AND (r.at IS NULL OR r.at < @lately)
            AND NOT EXISTS (SELECT FROM operations o WHERE o.vm = v.id AND o.finished IS NULL)
        ORDER BY r.at NULLS FIRST, v.id LIMIT @limit
        """;

    /// <summary>How many moves from a host are going on.</summary>
    public const string CountFrom = """
        -- MoveRefusalSql.CountFrom
        SELECT count(*)::integer FROM moves WHERE from_host = @host AND ended IS NULL
        """;
}
