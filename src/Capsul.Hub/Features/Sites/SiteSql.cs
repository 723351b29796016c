using Capsul.Hub.Features.Firewalls;

namespace Capsul.Hub.Features.Sites;

/// <summary>A name under the domain of VMs, and the port of the VM that it leads to.</summary>
public sealed record SiteRow(string Name, string Vm, int VmPort, DateTime Added);

/// <summary>Where a name leads, and who may use it.</summary>
public sealed record SiteTargetRow(string Vm, int VmPort, string Observed, string Policy, string Rules);

/// <summary>Statements on names of web servers.</summary>
public static class SiteSql
{
    public const string OfVm = """
        -- SiteSql.OfVm
        SELECT name, vm, vm_port, added FROM sites WHERE vm = @id ORDER BY name
        """;

    public const string Count = """
        -- SiteSql.Count
        SELECT count(*) FROM sites WHERE vm = @id
        """;

    public const string Insert = """
        -- SiteSql.Insert
        INSERT INTO sites (name, vm, vm_port, added) VALUES (@name, @id, @vmPort, @now)
        """;

    public const string Delete = """
        -- SiteSql.Delete
        DELETE FROM sites WHERE name = @name AND vm = @id
        """;

    public const string Target = $"""
        -- SiteSql.Target
        SELECT s.vm, s.vm_port, v.observed,
            coalesce((SELECT f.policy FROM firewalls f WHERE f.vm = v.id), 'open') AS policy,
            {FirewallSql.RuleLines} AS rules
        FROM sites s JOIN vms v ON v.id = s.vm WHERE s.name = @name AND v.deleted IS NULL
        """;

    /// <summary>The host that a VM is on.</summary>
    public const string HostOf = """
        -- SiteSql.HostOf
        SELECT host FROM vms WHERE id = @id AND deleted IS NULL
        """;
}
