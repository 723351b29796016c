namespace Capsul.Hub.Features.Firewalls;

/// <summary>The firewall of a VM: its policy, and its rules as in <see cref="FirewallSql.RuleLines"/>.</summary>
public sealed record FirewallRow(string Policy, string Rules);

/// <summary>Statements on firewalls. A VM without a row is open, and has no rules.</summary>
public static class FirewallSql
{
    /// <summary>The rules of VM v, one per line: protocol, first and last port, source (empty: anywhere).</summary>
    internal const string RuleLines = """
        (SELECT coalesce(string_agg(concat_ws(' ', r.protocol, r.first_port, r.last_port, r.source::text), E'\n'
                ORDER BY r.protocol, r.first_port, r.last_port, r.source NULLS FIRST), '')
            FROM firewall_rules r WHERE r.vm = v.id)
        """;

    public const string Find = $"""
        -- FirewallSql.Find
        SELECT coalesce((SELECT f.policy FROM firewalls f WHERE f.vm = v.id), 'open') AS policy, {RuleLines} AS rules
        FROM vms v WHERE v.id = @id
        """;

    public const string Put = """
        -- FirewallSql.Put
        INSERT INTO firewalls (vm, policy) SELECT vm, policy FROM unnest(@vms::text[], @policies::text[])
            AS n (vm, policy)
        ON CONFLICT (vm) DO UPDATE SET policy = excluded.policy
        """;

    public const string DeleteRules = """
        -- FirewallSql.DeleteRules
        DELETE FROM firewall_rules WHERE vm = @id
        """;

    public const string InsertRules = """
        -- FirewallSql.InsertRules
        INSERT INTO firewall_rules (vm, protocol, first_port, last_port, source)
        SELECT vm, protocol, first_port, last_port, nullif(source, '')::cidr
        FROM unnest(@vms::text[], @protocols::text[], @firsts::integer[], @lasts::integer[], @sources::text[])
            AS n (vm, protocol, first_port, last_port, source)
        ON CONFLICT DO NOTHING
        """;
}
