using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Alerts;

/// <summary>A condition that an operator must know of, as the database shows it now.</summary>
/// <param name="Kind">One of <see cref="RaiseAlert"/>.</param>
/// <param name="Subject">The host, VM or operation.</param>
/// <param name="At">Since when, or until when; what it means depends on the kind.</param>
/// <param name="Number">A number, which depends on the kind: MiB, seconds, how many.</param>
/// <param name="Text">More words.</param>
public sealed record ConditionRow(string Kind, string Subject, DateTime? At, long Number, string Text);

/// <summary>What <c>AlertWatch</c> reads; nothing is written here.</summary>
public static class AlertWatchSql
{
    const string Open = "FROM alerts a WHERE a.cleared IS NULL AND a.kind";

    /// <summary>
    /// All conditions at once. What a host reported last counts while it is offline if it was so before. A disk that
    /// has filled must have a fifth more space before it counts as cleared, so that an alert does not come and go.
    /// </summary>
    public const string Conditions = $"""
        -- AlertWatchSql.Conditions
        SELECT 'host_silent' AS kind, h.id AS subject, h.last_seen AS at, 0::bigint AS number, '' AS text
        FROM hosts h WHERE h.state = 'joined' AND NOT h.online AND h.problem = '' AND h.last_seen < @silent
            AND (h.accepts OR EXISTS (SELECT FROM vms v WHERE v.host = h.id AND v.deleted IS NULL))
        UNION ALL
        SELECT 'hypervisor_silent', h.id, h.last_seen, 0, h.problem
        FROM hosts h WHERE h.state = 'joined' AND NOT h.online AND h.problem <> '' AND h.last_seen < @silent
        UNION ALL
        SELECT 'disk_filling', h.id, NULL, h.disk_free_mb, ''
        FROM hosts h LEFT JOIN (SELECT a.subject {Open} = 'disk_filling') AS o ON o.subject = h.id
        WHERE h.state = 'joined' AND h.last_seen IS NOT NULL AND (h.online OR o.subject IS NOT NULL)
            AND h.disk_free_mb < greatest(8192, h.disk_mb / 10) * CASE WHEN o.subject IS NULL THEN 1 ELSE 1.2 END
        UNION ALL
        SELECT 'clock_skew', h.id, NULL, h.clock_skew_seconds, ''
        FROM hosts h WHERE h.state = 'joined' AND abs(h.clock_skew_seconds) > 60
            AND (h.online OR EXISTS (SELECT {Open} = 'clock_skew' AND a.subject = h.id))
        UNION ALL
        SELECT 'certificate_ending', h.id, h.certificate_ends, 0, ''
        FROM hosts h WHERE h.state = 'joined' AND h.certificate_ends < @certificate
        UNION ALL
        SELECT 'vms_paused', v.host, NULL, count(*), min(v.id)
        FROM vms v WHERE v.paused AND v.observed = 'on' AND v.deleted IS NULL GROUP BY v.host
        UNION ALL
        SELECT 'hub_without_address', '', NULL, count(*), '' FROM hubs u WHERE u.seen > @hubs
        HAVING count(*) > 1 AND bool_or(u.link_address = '')
        UNION ALL
        SELECT 'unknown_vm', u.host, min(u.first_seen), count(*), min(u.vm) FROM unknown_vms u GROUP BY u.host
        UNION ALL
        SELECT 'mails_stuck', '', min(m.created), count(*), ''
        FROM mails m WHERE @sendsMail AND m.sent IS NULL AND m.given_up IS NULL AND m.created < @mail
        HAVING count(*) > 0
        UNION ALL
        SELECT 'mails_given_up', '', min(m.given_up), count(*), '' FROM mails m WHERE m.given_up > @day
        HAVING count(*) > 0
        UNION ALL
        SELECT 'operation_overdue', o.id::text, o.deadline_at, 0, o.kind || ' of ' || o.vm
        FROM operations o WHERE o.finished IS NULL AND o.deadline_at < @overdue
        UNION ALL
        SELECT 'evacuation_stuck', h.id, NULL, count(*), min(v.id || ': ' || r.problem)
        FROM hosts h JOIN vms v ON v.host = h.id AND v.deleted IS NULL JOIN move_refusals r ON r.vm = v.id
        WHERE h.evacuating GROUP BY h.id
        UNION ALL
        SELECT 'copy_left', m.copy_host, min(m.ended), count(*), min(m.vm)
        FROM moves m WHERE m.copy_host IS NOT NULL AND m.ended < @day GROUP BY m.copy_host
        UNION ALL
        SELECT 'metering_behind', '', m.until, 0, '' FROM metering m WHERE m.until < @metering
        UNION ALL
        SELECT 'metering_ahead', '', m.until, 0, '' FROM metering m WHERE m.until > @now
        UNION ALL
        SELECT 'clock_jumped', '', c.trusted, 0, '' FROM dunning_clock c WHERE c.trusted < @jumped
        UNION ALL
        SELECT 'dunning_stuck', '', min(d.taken), count(*), min(d.email)
        FROM dunning d LEFT JOIN mails m ON m.id = d.mail
        WHERE d.told IS NULL AND (m.id IS NULL OR m.given_up IS NOT NULL) HAVING count(*) > 0
        UNION ALL
        SELECT 'dunning_paused', '', NULL, 0, c.paused FROM dunning_clock c WHERE c.paused <> ''
        UNION ALL
        SELECT 'payments_stuck', p.provider, min(p.failing_since), 0, coalesce(min(p.id)::text, 'a saved card')
        FROM (SELECT provider, failing_since, id FROM provider_payments
                WHERE problem <> '' AND failing_since < @stuck AND next_poll IS NOT NULL
            UNION ALL SELECT provider, failing_since, NULL FROM saved_cards
                WHERE failing_since < @stuck AND next_poll IS NOT NULL) AS p
        GROUP BY p.provider
        UNION ALL
        SELECT 'payment_problem', p.id::text, NULL, 0, p.problem
        FROM provider_payments p
        WHERE p.problem <> '' AND (p.failing_since IS NULL OR (p.status = 'failed' AND p.created > @day))
        UNION ALL
        SELECT 'payment_problem', r.payment::text, NULL, 0, max(r.problem)
        FROM provider_refunds r JOIN provider_payments p ON p.id = r.payment AND p.problem = ''
        WHERE r.status = 'done' AND r.problem <> '' AND r.created > @month::timestamptz - interval '60 days'
        GROUP BY r.payment
        UNION ALL
        SELECT 'money_unassigned', '', min(b.booked)::timestamptz, count(*), ''
        FROM bank_lines b WHERE b.state IN ('waiting', 'kept') AND b.state = 'kept' HAVING count(*) > 0
        UNION ALL
        SELECT 'payment_unknown', e.provider, min(e.received), count(DISTINCT e.unknown_key), ''
        FROM provider_events e WHERE e.unknown_key IS NOT NULL GROUP BY e.provider
        UNION ALL
        SELECT 'refund_refused', r.id::text, NULL, r.payment, r.problem
        FROM provider_refunds r WHERE r.status = 'refused'
            AND r.created > @month::timestamptz - interval '30 days'
            AND NOT EXISTS (SELECT FROM provider_refunds l WHERE l.payment = r.payment AND l.id > r.id)
        UNION ALL
        SELECT CASE WHEN o.late THEN 'paid_after_closing' ELSE 'closing_to_pay' END, '', min(o.created), count(*), ''
        FROM account_payouts o WHERE o.state IN ('sent', 'open') AND o.state = 'open' GROUP BY o.late
        UNION ALL
        SELECT 'closed_balance', c.email, c.settled, 0,
            trim_scale(trunc(t.paid - t.used / ({Prices.DaysPerMonthText} * 86400), u.decimals))::text
        FROM account_closings c JOIN account_totals t ON t.email = c.email CROSS JOIN currency u
        WHERE c.settled IS NOT NULL
            AND trunc(t.paid - t.used / ({Prices.DaysPerMonthText} * 86400), u.decimals) <> 0
            AND NOT EXISTS (SELECT FROM account_payouts o
                WHERE o.closing = c.id AND NOT o.late AND o.state IN ('sent', 'open'))
            AND NOT EXISTS (SELECT FROM provider_payments q WHERE q.email = c.email AND q.dispute = 'open')
        UNION ALL
        SELECT 'accounts_waiting', '', min(a.waits), count(*), '' FROM accounts a WHERE a.waits IS NOT NULL
        HAVING count(*) > 0
        UNION ALL
        SELECT 'fund_short', '', min(s.short_since), count(*), sum(s.amount)::text
        FROM sponsorships s WHERE s.ended IS NULL AND s.short_since IS NOT NULL HAVING count(*) > 0
        UNION ALL
        SELECT 'names_unpublished', '', min(n.failing_since), count(*), min(host(n.address) || ': ' || n.problem)
        FROM reverse_names n WHERE n.failing_since < @unpublished HAVING count(*) > 0
        UNION ALL
        SELECT 'provider_differs', p.provider, p.differs_since, p.differences, ''
        FROM provider_totals p WHERE p.at > p.differs_since + interval '30 minutes'
            AND p.tried > @day::timestamptz - interval '2 days'
        UNION ALL
        SELECT 'webhooks_refused', r.provider, NULL, 0, r.problem
        FROM provider_refusals r WHERE r.count >= 10 AND r.last > @refused
        UNION ALL
        SELECT 'rules_removed', h.id, NULL, 0, '' FROM hosts h WHERE h.state = 'joined' AND h.rules_removed > @day
        UNION ALL
        SELECT 'vms_cut_off', h.id, h.cut_off_since, 0, h.cut_off
        FROM hosts h WHERE h.state = 'joined' AND h.cut_off_since < @silent
        UNION ALL
        SELECT 'vm_busy', u.vm, u.busy_since, @busyPercent, v.email
        FROM vm_usage u JOIN vms v ON v.id = u.vm
        WHERE u.busy_since IS NOT NULL AND u.busy_since < @busy AND u.at > @used AND v.deleted IS NULL
        UNION ALL
        SELECT 'vm_connections', u.vm, NULL, @connections, v.email
        FROM vm_usage u JOIN vms v ON v.id = u.vm
        WHERE u.crowded IS NOT NULL AND u.crowded > @day AND v.deleted IS NULL
        """;

    /// <summary>When the newest complete backup started.</summary>
    public const string LastBackup = """
        -- AlertWatchSql.LastBackup
        SELECT max(started) FROM backups WHERE finished IS NOT NULL AND problem = ''
        """;
}
