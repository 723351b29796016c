namespace Capsul.Hub.Features.Vms;

/// <summary>What the list of VMs shows besides them.</summary>
/// <param name="Changes">Version of the list.</param>
/// <param name="All">How many VMs are in the list.</param>
/// <param name="Matching">How many of them match the search.</param>
public sealed record VmListRow(string Changes, long All, long Matching);

/// <summary>A VM as the list shows it. Money in dollars a month.</summary>
public sealed record ListedVmRow(
    string Id, string Name, string Size, string Image, decimal DollarsPerMonth, string State, string Observed,
    bool Paused, DateTime? Queued, string SshHost, int SshPort, long ObservedRescue);

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
            (SELECT concat(c.number, c.done) FROM key_changes c WHERE c.vm = v.id ORDER BY c.number DESC LIMIT 1),
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
                ELSE (SELECT count(*) FROM vms v WHERE {Alive} AND {Matches}) END AS matching
        FROM failed LEFT JOIN account_totals t ON t.email = @email
        """;

    /// <summary>By the primary key: the planner may prefer an index on the account, and read all that it has.</summary>
    const string AfterVm = "id = @after AND (email = @email) IS TRUE";

    /// <summary>The columns of a <see cref="ListedVmRow"/>, and when it was created.</summary>
    const string Shown = "v.id, v.name, v.size, v.image, v.dollars_per_month, v.state, v.observed, v.paused, v.queued, "
        + "v.ssh_host, v.ssh_port, v.observed_rescue, v.created";

    const string Page = $"""
        SELECT head.*, s.id, s.name, s.size, s.image, s.dollars_per_month, s.state, s.observed, s.paused, s.queued,
            s.ssh_host, s.ssh_port, s.observed_rescue
        FROM ({Head}) AS head LEFT JOIN shown s ON TRUE
        """;

    /// <summary>
    /// The columns of a <see cref="VmListRow"/>, and of a <see cref="ListedVmRow"/>, or null: the list is never empty,
    /// and all of it is from one moment. Each page begins after the row of <c>@after</c>; another account's row returns
    /// no VM. It has no more columns than are shown: each costs the server, and again the program.
    /// </summary>
    public const string ListByNewest = $"""
        -- VmPageSql.ListByNewest
        WITH {Failures}, after AS MATERIALIZED (
            SELECT 'infinity'::timestamptz AS created, '' AS id WHERE @after = ''
            UNION ALL SELECT created, id FROM vms WHERE {AfterVm}
        ), shown AS MATERIALIZED (
            (SELECT {Shown} FROM vms v WHERE {Alive} AND {Matches}
                AND (v.created, v.id) < (SELECT created, id FROM after)
                ORDER BY v.created DESC, v.id DESC LIMIT @limit)
            UNION ALL
            (SELECT {Shown} FROM vms v WHERE {Failed} AND {Matches}
                AND (v.created, v.id) < (SELECT created, id FROM after)))
        {Page}
        ORDER BY s.created DESC, s.id DESC LIMIT @limit
        """;

    public const string ListByName = $"""
        -- VmPageSql.ListByName
        WITH {Failures}, after AS MATERIALIZED (
            SELECT '' AS name, '' AS id WHERE @after = ''
            UNION ALL SELECT name, id FROM vms WHERE {AfterVm}
        ), shown AS MATERIALIZED (
            (SELECT {Shown} FROM vms v WHERE {Alive} AND {Matches}
                AND (v.name, v.id) > (SELECT name, id FROM after)
                ORDER BY v.name, v.id LIMIT @limit)
            UNION ALL
            (SELECT {Shown} FROM vms v WHERE {Failed} AND {Matches}
                AND (v.name, v.id) > (SELECT name, id FROM after)))
        {Page}
        ORDER BY s.name, s.id LIMIT @limit
        """;

    public const string ListByPrice = $"""
        -- VmPageSql.ListByPrice
        WITH {Failures}, after AS MATERIALIZED (
            SELECT 1000000 AS dollars_per_month, '' AS id WHERE @after = ''
            UNION ALL SELECT dollars_per_month, id FROM vms WHERE {AfterVm}
        ), shown AS MATERIALIZED (
            (SELECT {Shown} FROM vms v WHERE {Alive} AND {Matches}
                AND (v.dollars_per_month, v.id) < (SELECT dollars_per_month, id FROM after)
                ORDER BY v.dollars_per_month DESC, v.id DESC LIMIT @limit)
            UNION ALL
            (SELECT {Shown} FROM vms v WHERE {Failed} AND {Matches}
                AND (v.dollars_per_month, v.id) < (SELECT dollars_per_month, id FROM after)))
        {Page}
        ORDER BY s.dollars_per_month DESC, s.id DESC LIMIT @limit
        """;

    public const string ImageTitle = """
        -- VmPageSql.ImageTitle
        SELECT title FROM images WHERE id = @id
        """;
}
