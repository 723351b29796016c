namespace Capsul.Hub.Features.Vms;

/// <summary>How many VMs an account has, and how many of them match the search.</summary>
public sealed record VmCountRow(long All, long Matching);

/// <summary>Statements that only the pages need.</summary>
public static class VmPageSql
{
    /// <summary>
    /// A value that differs after every change visible on a VM's page; null when the VM belongs to another account.
    /// </summary>
    public const string Version = """
        -- VmPageSql.Version
        SELECT concat_ws('|', v.state, v.wanted, v.observed, v.phase, v.problem, v.ssh_host, v.ssh_port, v.deleted,
            o.id, o.status, o.step, o.asked,
            (SELECT max(e.id) FROM operation_events e WHERE e.operation = o.id))
        FROM vms v LEFT JOIN LATERAL (
            SELECT id, status, step, asked FROM operations WHERE vm = v.id ORDER BY id DESC LIMIT 1) AS o ON TRUE
        WHERE v.id = @id AND v.email = @email
        """;

    /// <summary>The same for all VMs of an account.</summary>
    public const string ListVersion = """
        -- VmPageSql.ListVersion
        SELECT coalesce(string_agg(concat_ws('|', id, state, observed, problem, deleted), ' ' ORDER BY id), '')
        FROM vms WHERE email = @email
        """;

    /// <summary>
    /// The VMs in the list: existing ones, and those that failed within the last day. Then the search within it.
    /// </summary>
    const string Shown = """
        v.email = @email
            AND (v.deleted IS NULL OR (v.state = 'failed' AND v.deleted > @now::timestamptz - interval '1 day'))
        """;

    const string Matches = "(@search = '' OR strpos(v.name, @search) > 0 OR strpos(v.id, @search) > 0) "
        + "AND (@state = '' OR v.state = @state)";

    public const string Count = $"""
        -- VmPageSql.Count
        SELECT count(*) AS all, count(*) FILTER (WHERE {Matches}) AS matching FROM vms v WHERE {Shown}
        """;

    const string From = $"""
        FROM vms v LEFT JOIN addresses a ON a.vm = v.id
        WHERE {Shown} AND {Matches}
        """;

    /// <summary>Each page begins after the row of <c>@after</c>; another account's row returns nothing.</summary>
    public const string ListByNewest = $"""
        -- VmPageSql.ListByNewest
        SELECT {VmSql.Columns}
        {From}
            AND (@after = '' OR (v.created, v.id) < (SELECT created, id FROM vms WHERE id = @after AND email = @email))
        ORDER BY v.created DESC, v.id DESC LIMIT @limit
        """;

    public const string ListByName = $"""
        -- VmPageSql.ListByName
        SELECT {VmSql.Columns}
        {From}
            AND (@after = '' OR (v.name, v.id) > (SELECT name, id FROM vms WHERE id = @after AND email = @email))
        ORDER BY v.name, v.id LIMIT @limit
        """;

    public const string ListByPrice = $"""
        -- VmPageSql.ListByPrice
        SELECT {VmSql.Columns}
        {From}
            AND (@after = '' OR (v.dollars_per_month, v.id) < (SELECT dollars_per_month, id FROM vms
                WHERE id = @after AND email = @email))
        ORDER BY v.dollars_per_month DESC, v.id DESC LIMIT @limit
        """;

    public const string ImageTitle = """
        -- VmPageSql.ImageTitle
        SELECT title FROM images WHERE id = @id
        """;
}
