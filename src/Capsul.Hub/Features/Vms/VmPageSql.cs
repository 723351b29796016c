namespace Capsul.Hub.Features.Vms;

/// <summary>Statements that only the pages need.</summary>
public static class VmPageSql
{
    /// <summary>Something that is different after every change a person would see on the page of a VM; null when it is not theirs.</summary>
    public const string Version = """
        -- VmPageSql.Version
        SELECT concat_ws('|', v.state, v.wanted, v.observed, v.phase, v.problem, v.ssh_host, v.ssh_port, v.deleted, o.id, o.status, o.step, o.asked,
            (SELECT max(e.id) FROM operation_events e WHERE e.operation = o.id))
        FROM vms v LEFT JOIN LATERAL (
            SELECT id, status, step, asked FROM operations WHERE vm = v.id ORDER BY id DESC LIMIT 1) AS o ON TRUE
        WHERE v.id = @id AND v.email = @email
        """;

    /// <summary>The same over all VMs of an account.</summary>
    public const string ListVersion = """
        -- VmPageSql.ListVersion
        SELECT coalesce(string_agg(concat_ws('|', id, state, observed, problem, deleted), ' ' ORDER BY id), '')
        FROM vms WHERE email = @email
        """;

    public const string ImageTitle = """
        -- VmPageSql.ImageTitle
        SELECT title FROM images WHERE id = @id
        """;
}
