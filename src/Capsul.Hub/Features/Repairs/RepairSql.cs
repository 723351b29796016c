namespace Capsul.Hub.Features.Repairs;

/// <summary>Something that should not be.</summary>
/// <param name="Kind">What it is; the plan says what to do about it.</param>
/// <param name="Subject">The VM, host or operation.</param>
/// <param name="Host">The host that it concerns.</param>
/// <param name="Detail">More words. Does not change as long as the finding stays the same.</param>
/// <param name="Quarantined">When an earlier plan put it into quarantine; null: it did not.</param>
public sealed record FindingRow(string Kind, string Subject, string Host, string Detail, DateTime? Quarantined);

/// <summary>Statements of <c>capsul fsck</c>: the database compared with itself and with what hosts report.</summary>
public static class RepairSql
{
    const string BetweenStates =
        "v.state IN ('creating', 'starting', 'stopping', 'restarting', 'reinstalling', 'moving', 'deleting')";

    const string Charged = "EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span))";

    /// <summary>It is, and so is each of its extras.</summary>
    const string WhollyCharged = """
        EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND s.extra IS NULL AND upper_inf(s.span))
            AND NOT EXISTS (SELECT FROM vm_extras x WHERE x.vm = v.id AND x.removed IS NULL AND NOT EXISTS (
                SELECT FROM usage_spans s WHERE s.vm = v.id AND s.extra = x.id AND upper_inf(s.span)))
        """;

    const string OfVms = $"""
        SELECT 'operation_missing' AS kind, v.id AS subject, v.host, v.state AS detail
        FROM vms v WHERE v.deleted IS NULL AND {BetweenStates}
            AND NOT EXISTS (SELECT FROM operations o WHERE o.vm = v.id AND o.finished IS NULL)
        UNION ALL
        SELECT 'operation_of_deleted', o.id::text, v.host, o.kind || ' of ' || v.id
        FROM operations o JOIN vms v ON v.id = o.vm WHERE o.finished IS NULL AND v.deleted IS NOT NULL
        UNION ALL
        SELECT DISTINCT 'usage_of_deleted', v.id, v.host,
            'deleted ' || to_char(v.deleted AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')
        FROM usage_spans s JOIN vms v ON v.id = s.vm WHERE upper_inf(s.span) AND v.deleted IS NOT NULL
        UNION ALL
        SELECT 'usage_of_unknown', v.id, v.host, v.state
        FROM vms v WHERE v.deleted IS NULL AND v.observed = 'unknown' AND v.wanted <> 'gone' AND {Charged}
        UNION ALL
        SELECT 'usage_missing', v.id, v.host, v.state
        FROM vms v WHERE v.deleted IS NULL AND v.state IN ('running', 'stopped') AND v.observed IN ('on', 'off')
            AND NOT v.paused AND NOT ({WhollyCharged}) AND NOT EXISTS (SELECT FROM alerts a
                WHERE a.kind = 'disk_lost' AND a.subject = v.id AND a.cleared IS NULL)
        UNION ALL
        SELECT 'vm_not_reported', v.id, v.host, v.state
        FROM vms v JOIN hosts h ON h.id = v.host WHERE v.deleted IS NULL AND v.has_run AND h.online
            AND v.observed = 'unknown' AND v.observed_at < @lately
        """;

    const string OfAddresses = """
        SELECT 'address_reserved' AS kind, v.id AS subject, v.host, host(a.address) AS detail
        FROM addresses a JOIN vms v ON v.id = a.vm AND v.host = a.host JOIN hosts h ON h.id = v.host
        WHERE v.deleted < @lately AND v.observed <> 'gone' AND NOT h.online
        UNION ALL
        SELECT 'address_elsewhere', v.id, v.host, host(a.address) || ' of ' || a.host
        FROM addresses a JOIN vms v ON v.id = a.vm WHERE a.host <> v.host
            AND NOT EXISTS (SELECT FROM moves m WHERE m.vm = v.id AND m.copy_host = a.host)
        UNION ALL
        SELECT 'address_missing', v.id, v.host, v.state
        FROM vms v WHERE v.deleted IS NULL AND NOT EXISTS (SELECT FROM addresses a
            WHERE a.vm = v.id AND a.host = v.host AND a.extra IS NULL)
        """;

    const string OfHosts = """
        SELECT 'unknown_vm' AS kind, u.host || '/' || u.vm AS subject, u.host,
            u.power || coalesce(
                (SELECT '; the database has it on ' || v.host FROM vms v WHERE v.id = u.vm), '') AS detail
        FROM unknown_vms u
        UNION ALL
        SELECT 'host_without_certificate', h.id, h.id,
            h.state || ', VMs: ' || (SELECT count(*) FROM vms v WHERE v.host = h.id AND v.deleted IS NULL)
        FROM hosts h WHERE h.state <> 'joined'
            AND EXISTS (SELECT FROM vms v WHERE v.host = h.id AND v.deleted IS NULL)
        UNION ALL
        SELECT 'generation_behind', h.id, h.id, 'at ' || h.generation || ', a VM at '
            || (SELECT max(v.wanted_generation) FROM vms v WHERE v.host = h.id)
        FROM hosts h WHERE h.generation < (SELECT max(v.wanted_generation) FROM vms v WHERE v.host = h.id)
        """;

    /// <summary>Everything that should not be, on one host or (empty) on all.</summary>
    public const string Find = $"""
        -- RepairSql.Find
        SELECT f.kind, f.subject, f.host, f.detail, q.since AS quarantined
        FROM ({OfVms} UNION ALL {OfAddresses} UNION ALL {OfHosts}) AS f
        LEFT JOIN quarantine q ON q.kind = f.kind AND q.subject = f.subject
        WHERE @host = '' OR f.host = @host
        ORDER BY f.kind, f.subject LIMIT 1000
        """;

    public const string Quarantine = """
        -- RepairSql.Quarantine
        INSERT INTO quarantine (kind, subject, plan, since)
        SELECT n.kind, n.subject, @plan, @now FROM unnest(@kinds::text[], @subjects::text[]) AS n (kind, subject)
        ON CONFLICT (kind, subject) DO NOTHING
        """;

    public const string Release = """
        -- RepairSql.Release
        DELETE FROM quarantine q USING unnest(@kinds::text[], @subjects::text[]) AS n (kind, subject)
        WHERE q.kind = n.kind AND q.subject = n.subject
        """;
}
