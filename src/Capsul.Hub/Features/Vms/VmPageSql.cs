using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Vms;

/// <summary>What the list of VMs shows besides them.</summary>
/// <param name="Changes">Version of the list.</param>
/// <param name="All">How many VMs are in the list.</param>
/// <param name="Matching">How many of them match the search.</param>
public sealed record VmListRow(
    string Changes, long All, long Matching, decimal Paid, decimal Used, decimal DollarsPerMonth)
{
    public BalanceRow Balance => new(Paid, Used, DollarsPerMonth);
}

/// <summary>Statements that only the pages need.</summary>
public static class VmPageSql
{
    /// <summary>
    /// A value that differs after every change visible on a VM's page; null when the VM belongs to another account.
    /// </summary>
    public const string Version = $"""
        -- VmPageSql.Version
        SELECT concat_ws('|', v.state, v.wanted, v.observed, v.phase, v.problem, v.ssh_host, v.ssh_port, v.deleted,
            CASE WHEN v.queued IS NOT NULL THEN {BuildQueueSql.PlaceOfVm} END, o.id, o.status, o.step, o.asked,
            (SELECT max(e.id) FROM operation_events e WHERE e.operation = o.id),
            (SELECT m.bytes_done FROM moves m WHERE m.vm = v.id AND m.ended IS NULL))
        FROM vms v LEFT JOIN LATERAL (
            SELECT id, status, step, asked FROM operations WHERE vm = v.id ORDER BY id DESC LIMIT 1) AS o ON TRUE
        WHERE v.id = @id AND v.email = @email
        """;

    /// <summary>
    /// The list has the VMs that exist and those that failed within the last day. They are read separately, each by an
    /// index in the order of the page: an account may have any number of older ones.
    /// </summary>
    const string Alive = "v.email = @email AND v.deleted IS NULL";

    const string Failed =
        "v.email = @email AND v.state = 'failed' AND v.deleted > @now::timestamptz - interval '1 day'";

    const string Matches = "(@search = '' OR strpos(v.name, @search) > 0 OR strpos(v.id, @search) > 0) "
        + "AND (@state = '' OR v.state = @state)";

    /// <summary>Without a search nothing is counted but the failed ones: the account knows how many it has.</summary>
    const string Failures = $"""
        failed AS MATERIALIZED (
            SELECT count(*) AS n, count(*) FILTER (WHERE {Matches}) AS matching FROM vms v WHERE {Failed})
        """;

    const string Head = $"""
        SELECT coalesce(t.changes, 0)::text AS changes, coalesce(t.vms, 0) + failed.n AS all, failed.matching
            + CASE WHEN @search = '' AND @state = '' THEN coalesce(t.vms, 0)
                ELSE (SELECT count(*) FROM vms v WHERE {Alive} AND {Matches}) END AS matching,
            {BillingSql.BalanceColumns}
        FROM failed LEFT JOIN account_totals t ON t.email = @email
        """;

    /// <summary>By the primary key: the planner may prefer an index on the account, and read all that it has.</summary>
    const string AfterVm = "id = @after AND (email = @email) IS TRUE";

    /// <summary>
    /// The columns of a <see cref="VmListRow"/>, and of a VM, or null: the list is never empty, and all of it is from
    /// one moment. Each page begins after the row of <c>@after</c>; another account's row returns no VM.
    /// </summary>
    public const string ListByNewest = $"""
        -- VmPageSql.ListByNewest
        WITH {Failures}, after AS MATERIALIZED (
            SELECT 'infinity'::timestamptz AS created, '' AS id WHERE @after = ''
            UNION ALL SELECT created, id FROM vms WHERE {AfterVm}
        ), shown AS MATERIALIZED (
            (SELECT v.id FROM vms v WHERE {Alive} AND {Matches} AND (v.created, v.id) < (SELECT created, id FROM after)
                ORDER BY v.created DESC, v.id DESC LIMIT @limit)
            UNION ALL
            (SELECT v.id FROM vms v
                WHERE {Failed} AND {Matches} AND (v.created, v.id) < (SELECT created, id FROM after)))
        SELECT head.*, vm.*
        FROM ({Head}) AS head LEFT JOIN (
            SELECT {VmSql.Columns}
            FROM shown JOIN vms v ON v.id = shown.id LEFT JOIN addresses a ON a.vm = v.id AND a.host = v.host
            ORDER BY v.created DESC, v.id DESC LIMIT @limit) AS vm ON TRUE
        ORDER BY vm.created DESC, vm.id DESC
        """;

    public const string ListByName = $"""
        -- VmPageSql.ListByName
        WITH {Failures}, after AS MATERIALIZED (
            SELECT '' AS name, '' AS id WHERE @after = ''
            UNION ALL SELECT name, id FROM vms WHERE {AfterVm}
        ), shown AS MATERIALIZED (
            (SELECT v.id FROM vms v WHERE {Alive} AND {Matches} AND (v.name, v.id) > (SELECT name, id FROM after)
                ORDER BY v.name, v.id LIMIT @limit)
            UNION ALL
            (SELECT v.id FROM vms v WHERE {Failed} AND {Matches} AND (v.name, v.id) > (SELECT name, id FROM after)))
        SELECT head.*, vm.*
        FROM ({Head}) AS head LEFT JOIN (
            SELECT {VmSql.Columns}
            FROM shown JOIN vms v ON v.id = shown.id LEFT JOIN addresses a ON a.vm = v.id AND a.host = v.host
            ORDER BY v.name, v.id LIMIT @limit) AS vm ON TRUE
        ORDER BY vm.name, vm.id
        """;

    public const string ListByPrice = $"""
        -- VmPageSql.ListByPrice
        WITH {Failures}, after AS MATERIALIZED (
            SELECT 1000000 AS dollars_per_month, '' AS id WHERE @after = ''
            UNION ALL SELECT dollars_per_month, id FROM vms WHERE {AfterVm}
        ), shown AS MATERIALIZED (
            (SELECT v.id FROM vms v WHERE {Alive} AND {Matches}
                AND (v.dollars_per_month, v.id) < (SELECT dollars_per_month, id FROM after)
                ORDER BY v.dollars_per_month DESC, v.id DESC LIMIT @limit)
            UNION ALL
            (SELECT v.id FROM vms v WHERE {Failed} AND {Matches}
                AND (v.dollars_per_month, v.id) < (SELECT dollars_per_month, id FROM after)))
        SELECT head.*, vm.*
        FROM ({Head}) AS head LEFT JOIN (
            SELECT {VmSql.Columns}
            FROM shown JOIN vms v ON v.id = shown.id LEFT JOIN addresses a ON a.vm = v.id AND a.host = v.host
            ORDER BY v.dollars_per_month DESC, v.id DESC LIMIT @limit) AS vm ON TRUE
        ORDER BY vm.dollars_per_month DESC, vm.id DESC
        """;

    public const string ImageTitle = """
        -- VmPageSql.ImageTitle
        SELECT title FROM images WHERE id = @id
        """;
}
