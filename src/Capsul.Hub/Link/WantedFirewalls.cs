using System.Security.Cryptography;
using System.Text;
using Capsul.Hub.Features.Firewalls;
using Capsul.Wire;

namespace Capsul.Hub.Link;

/// <summary>The firewall of a VM as it goes over the link.</summary>
public static class WantedFirewalls
{
    const int OwnerBytes = 16;

    /// <param name="email">Whose VM it is.</param>
    /// <param name="policy">open or closed.</param>
    /// <param name="rules">As in <see cref="FirewallSql.RuleLines"/>.</param>
    public static WantedFirewall ToWire(string email, string policy, string rules)
    {
        var firewall = new WantedFirewall
        {
            Open = policy == FirewallState.OpenPolicy,
            Owner = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(email)).AsSpan(0, OwnerBytes)),
        };
        firewall.Rules.AddRange(FirewallState.Read(policy, rules).Rules.Select(r => new Wire.FirewallRule
        {
            Protocol = r.Protocol == "udp" ? IpProtocol.Udp : IpProtocol.Tcp,
            FirstPort = r.First,
            LastPort = r.Last,
            Source = r.Source,
        }));
        return firewall;
    }

    public static FirewallState FromWire(WantedFirewall firewall) => new(
        firewall.Open ? FirewallState.OpenPolicy : FirewallState.ClosedPolicy,
        [.. firewall.Rules.Select(r => new Features.Firewalls.FirewallRule(
            r.Protocol == IpProtocol.Udp ? "udp" : "tcp", r.FirstPort, r.LastPort, r.Source))]);
}
