namespace Capsul.Hub.Features.Vms;

/// <summary>
/// A VM between two states, without an operation. Rescue: wanted or ending, if it is in rescue; empty if not.
/// </summary>
public sealed record HalfMadeRow(
    string Id, string Email, string Host, string State, string Wanted, bool IsForeign, string Rescue);

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
            deleted = @now, problem = @problem, problem_final = FALSE, queued = NULL
        WHERE id = ANY(@ids)
        """;

    public const string HalfMade = """
        -- VmRepairSql.HalfMade
        SELECT v.id, v.email, v.host, v.state, v.wanted, v.adopt <> '' AS is_foreign,
            coalesce((SELECT CASE WHEN r.ending THEN 'ending' ELSE 'wanted' END FROM rescues r
                WHERE r.vm = v.id AND r.ended IS NULL), '') AS rescue
        FROM vms v
        WHERE v.deleted IS NULL AND v.state IN ('creating', 'starting', 'stopping', 'restarting', 'reinstalling',
                'moving', 'deleting')
            AND (@ids::text[] IS NULL OR v.id = ANY(@ids))
            AND NOT EXISTS (SELECT FROM operations o WHERE o.vm = v.id AND o.finished IS NULL)
        ORDER BY v.id LIMIT @limit FOR UPDATE OF v SKIP LOCKED
        """;

    public const string LockThese = """
        -- VmRepairSql.LockThese
        SELECT id FROM vms WHERE id = ANY(@ids) ORDER BY id FOR UPDATE
        """;

    /// <summary>Ends the charge of unknown VMs when their host was last seen, as if that had been noticed.</summary>
    public const string CloseUnknown = """
        -- VmRepairSql.CloseUnknown
        WITH ends AS MATERIALIZED (
            SELECT v.id, coalesce(h.last_seen, @now) AS at FROM vms v JOIN hosts h ON h.id = v.host
            WHERE v.id = ANY(@ids) AND v.observed = 'unknown'
                AND EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span))),
        empty AS (DELETE FROM usage_spans s USING ends e WHERE s.vm = e.id
            AND coalesce(upper(s.span), 'infinity'::timestamptz) > e.at AND lower(s.span) >= e.at)
        UPDATE usage_spans s SET span = tstzrange(lower(s.span), e.at) FROM ends e
        WHERE s.vm = e.id AND coalesce(upper(s.span), 'infinity'::timestamptz) > e.at AND lower(s.span) < e.at
        """;

    /// <summary>Reported gone, and yet they have an address.</summary>
    public const string DeletedButHeld = """
        -- VmRepairSql.DeletedButHeld
        SELECT v.id FROM addresses a JOIN vms v ON v.id = a.vm AND v.host = a.host
        WHERE v.deleted IS NOT NULL AND v.observed = 'gone' AND v.observed_generation >= v.wanted_generation
        ORDER BY v.id LIMIT @limit FOR UPDATE OF v SKIP LOCKED
        """;

    public const string DeletedButCharged = """
        -- VmRepairSql.DeletedButCharged
        SELECT v.id FROM usage_spans s JOIN vms v ON v.id = s.vm WHERE upper_inf(s.span) AND v.deleted IS NOT NULL
        ORDER BY v.id LIMIT @limit FOR UPDATE OF v SKIP LOCKED
        """;

    /// <summary>Ends the charge at the deletion. A span that would be empty is deleted: nothing was used.</summary>
    public const string CloseDeleted = """
        -- VmRepairSql.CloseDeleted
        WITH ends AS MATERIALIZED (SELECT v.id, v.deleted AS at FROM vms v
            WHERE v.id = ANY(@ids) AND v.deleted IS NOT NULL
                AND EXISTS (SELECT FROM usage_spans s WHERE s.vm = v.id AND upper_inf(s.span))),
        empty AS (DELETE FROM usage_spans s USING ends e WHERE s.vm = e.id
            AND coalesce(upper(s.span), 'infinity'::timestamptz) > e.at AND lower(s.span) >= e.at)
        UPDATE usage_spans s SET span = tstzrange(lower(s.span), e.at) FROM ends e
        WHERE s.vm = e.id AND coalesce(upper(s.span), 'infinity'::timestamptz) > e.at AND lower(s.span) < e.at
        """;
}
