namespace Capsul.Hub.Features.Traffic;

/// <summary>Traffic of a VM in a month, bytes as seen by it.</summary>
public sealed record TrafficRow(DateTime Month, long Received, long Sent)
{
    public long All => Received + Sent;
}

/// <summary>What a VM uses now, and how much its traffic is this month.</summary>
/// <param name="At">Of the last report; null: there was none.</param>
/// <param name="CpuPercent">Of all its CPUs, in the last minutes.</param>
public sealed record UsedNowRow(DateTime? At, int CpuPercent, long Received, long Sent);

/// <summary>A VM whose traffic has become more than is meant for a month.</summary>
public sealed record OverLimitRow(string Vm, string Name, string Email, long Received, long Sent);

public static class TrafficSql
{
    /// <summary>
    /// Takes in what a host says of its VMs. A VM that is older than a day and was never reported ran before anybody
    /// counted: its counters are where counting begins. A sum stays below 2^62, whatever a host says. The owner of a VM
    /// is told once in a month: those that are to be told are returned.
    /// </summary>
    public const string TakeIn = """
        -- TrafficSql.TakeIn
        WITH report AS MATERIALIZED (
            SELECT v.id AS vm, v.vcpus, n.cpu_ms, n.received, n.sent, n.connections, u.at, u.cpu_percent, u.busy_since,
                u.hour, u.hour_connections, u.crowded, date_trunc('hour', @now::timestamptz) AS this_hour,
                extract(epoch FROM @now::timestamptz - u.at) * 1000 AS elapsed_ms,
                counted(coalesce(u.cpu_ms, f.old * n.cpu_ms), n.cpu_ms) AS cpu_ms_more,
                counted(coalesce(u.received, f.old * n.received), n.received) AS received_more,
                counted(coalesce(u.sent, f.old * n.sent), n.sent) AS sent_more,
                counted(coalesce(u.connections, f.old * n.connections), n.connections) AS connections_more
            FROM unnest(@ids::text[], @cpuMs::bigint[], @received::bigint[], @sent::bigint[], @connections::bigint[])
                AS n (id, cpu_ms, received, sent, connections)
            JOIN vms v ON v.id = n.id LEFT JOIN vm_usage u ON u.vm = v.id
            CROSS JOIN LATERAL (SELECT (v.created < @now::timestamptz - interval '1 day')::integer AS old) AS f
            WHERE v.host = @host AND v.deleted IS NULL
        ), share AS MATERIALIZED (
            SELECT r.*, CASE WHEN r.elapsed_ms >= @least THEN
                least(100, round(100 * r.cpu_ms_more / (r.elapsed_ms * greatest(r.vcpus, 1))))
                ELSE coalesce(r.cpu_percent, 0) END::integer AS percent,
                r.connections_more + CASE WHEN r.hour = r.this_hour THEN r.hour_connections ELSE 0 END AS in_hour
            FROM report r
        ), saved AS (
            INSERT INTO vm_usage AS u (vm, at, cpu_ms, received, sent, connections, cpu_percent, busy_since, hour,
                hour_connections, crowded)
            SELECT s.vm, @now, s.cpu_ms, s.received, s.sent, s.connections, s.percent,
                CASE WHEN @busy > 0 AND s.percent >= @busy THEN coalesce(s.busy_since, s.at, @now) END,
                s.this_hour, s.in_hour,
                CASE WHEN @crowded > 0 AND s.in_hour >= @crowded THEN s.this_hour ELSE s.crowded END
            FROM share s ORDER BY s.vm
            ON CONFLICT (vm) DO UPDATE SET at = excluded.at, cpu_ms = excluded.cpu_ms, received = excluded.received,
                sent = excluded.sent, connections = excluded.connections, cpu_percent = excluded.cpu_percent,
                busy_since = excluded.busy_since, hour = excluded.hour, hour_connections = excluded.hour_connections,
                crowded = excluded.crowded
        ), added AS (
            INSERT INTO vm_traffic AS t (vm, month, received, sent)
            SELECT s.vm, date_trunc('month', @now::timestamptz AT TIME ZONE 'UTC'), s.received_more, s.sent_more
            FROM share s WHERE s.received_more + s.sent_more > 0 ORDER BY s.vm
            ON CONFLICT (vm, month) DO UPDATE SET received = least(1::bigint << 61, t.received + excluded.received),
                sent = least(1::bigint << 61, t.sent + excluded.sent)
            RETURNING t.vm, t.received, t.sent, t.told
        )
        SELECT a.vm, v.name, v.email, a.received, a.sent FROM added a JOIN vms v ON v.id = a.vm
        WHERE @limit > 0 AND a.told IS NULL AND a.received + a.sent >= @limit
        """;

    public const string Told = """
        -- TrafficSql.Told
        UPDATE vm_traffic SET told = @now
        WHERE vm = ANY(@vms) AND month = date_trunc('month', @now::timestamptz AT TIME ZONE 'UTC')
        """;

    /// <summary>Of a VM, newest month first; none of another account's. An operator passes no account.</summary>
    public const string Months = """
        -- TrafficSql.Months
        SELECT t.month::timestamp AS month, t.received, t.sent FROM vms v JOIN vm_traffic t ON t.vm = v.id
        WHERE v.id = @id AND (@email::text IS NULL OR v.email = @email) ORDER BY t.month DESC LIMIT 120
        """;

    public const string Now = """
        -- TrafficSql.Now
        SELECT u.at, coalesce(u.cpu_percent, 0) AS cpu_percent, coalesce(t.received, 0) AS received,
            coalesce(t.sent, 0) AS sent
        FROM (SELECT) AS one LEFT JOIN vm_usage u ON u.vm = @id
        LEFT JOIN vm_traffic t ON t.vm = @id AND t.month = date_trunc('month', @now::timestamptz AT TIME ZONE 'UTC')
        """;
}
