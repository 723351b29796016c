using System.Net;

namespace Capsul.Hub.Features.Firewalls;

/// <summary>What may reach a VM.</summary>
/// <param name="Policy">open: what no rule allows passes too, except from VMs of other accounts. closed: only what a
/// rule allows.</param>
public sealed record FirewallState(string Policy, IReadOnlyList<FirewallRule> Rules)
{
    public const string OpenPolicy = "open", ClosedPolicy = "closed";

    /// <summary>What a VM has until its owner changes it.</summary>
    public static readonly FirewallState Default = new(OpenPolicy, []);

    public bool IsOpen => Policy == OpenPolicy;

    /// <summary>Whether somebody outside may connect to a TCP port.</summary>
    public bool Allows(int port, IPAddress from) => IsOpen || Rules.Any(r => r.Protocol == "tcp"
        && port >= r.First && port <= r.Last && (r.Source.Length == 0 || IPNetwork.Parse(r.Source).Contains(
            from.IsIPv4MappedToIPv6 ? from.MapToIPv4() : from)));

    /// <summary>What people choose from, with a name each.</summary>
    public static readonly IReadOnlyList<(string Name, string Title, FirewallState State)> Presets =
    [
        ("ssh", "SSH only", new(ClosedPolicy, [Tcp(22)])),
        ("web", "Web server", new(ClosedPolicy, [Tcp(22), Tcp(80), Tcp(443)])),
        ("everything", "Everything", Default),
    ];

    static FirewallRule Tcp(int port) => new("tcp", port, port, "");

    /// <param name="policy">open or closed.</param>
    /// <param name="lines">As in <see cref="FirewallSql.RuleLines"/>.</param>
    public static FirewallState Read(string policy, string lines) =>
        new(policy, [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(FirewallRule.Read)]);

    public static FirewallState Of(FirewallRow row) => Read(row.Policy, row.Rules);

    /// <summary>The title of the preset that it is; null if it is none.</summary>
    public string? Preset => Presets.FirstOrDefault(p => p.State.Policy == Policy
        && p.State.Rules.Count == Rules.Count && p.State.Rules.All(Rules.Contains)).Title;

    /// <summary>In a few words.</summary>
    public string Summary => Preset ?? (IsOpen ? "Everything" : Rules.Count == 0 ? "Nothing" : "Own rules");
}
