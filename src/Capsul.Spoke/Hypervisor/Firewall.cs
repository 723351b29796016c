using System.Net;
using Capsul.Wire;

namespace Capsul.Spoke.Hypervisor;

/// <summary>New connections to these ports pass.</summary>
/// <param name="Source">Whence; null: from anywhere.</param>
public sealed record PortRule(IpProtocol Protocol, int First, int Last, IPNetwork? Source)
{
    public bool Allows(IpProtocol protocol, int port, IPAddress from) =>
        protocol == Protocol && port >= First && port <= Last
        && (Source is not { } network || network.Contains(from.IsIPv4MappedToIPv6 ? from.MapToIPv4() : from));
}

/// <summary>What may reach a VM.</summary>
/// <param name="Open">What no rule allows passes too, except from VMs of other accounts.</param>
/// <param name="Owner">The same for all VMs of an account.</param>
public sealed record Firewall(bool Open, string Owner, IReadOnlyList<PortRule> Rules)
{
    /// <summary>Null: the Hub is too old to know of firewalls.</summary>
    public static Firewall? Of(WantedFirewall? wanted) => wanted is null ? null : new Firewall(
        wanted.Open, wanted.Owner, [.. wanted.Rules.Select(r => new PortRule(r.Protocol, r.FirstPort, r.LastPort,
            r.Source.Length > 0 ? IPNetwork.Parse(r.Source) : null))]);

    public bool Equals(Firewall? other) => other is not null && (Open, Owner) == (other.Open, other.Owner)
        && Rules.SequenceEqual(other.Rules);

    public override int GetHashCode() => HashCode.Combine(Open, Owner, Rules.Count);

    /// <summary>Whether somebody outside may connect.</summary>
    public bool Allows(IpProtocol protocol, int port, IPAddress from) =>
        Open || Rules.Any(r => r.Allows(protocol, port, from));
}
