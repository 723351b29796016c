using System.Net;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;

namespace Capsul.Spoke.Vms;

/// <summary>A port of this machine that leads to a port of a VM.</summary>
/// <param name="From">Networks from which it may be used; null: from anywhere.</param>
/// <param name="IsUdp">Both are UDP ports; else TCP.</param>
public sealed record Forward(int HostPort, int VmPort, IReadOnlyList<string>? From, bool IsUdp = false)
{
    /// <summary>Those that a VM is wanted to have. Its firewall does not see who connects to this machine.</summary>
    public static IReadOnlyList<Forward> Of(WantedVm vm)
    {
        var firewall = Firewall.Of(vm.Firewall);
        return [.. vm.Ports.Select(p => new Forward(p.HostPort, p.VmPort, Sources(firewall, p), IsUdpPort(p)))];
    }

    static bool IsUdpPort(WantedPort port) => port.Protocol == IpProtocol.Udp;

    static IReadOnlyList<string>? Sources(Firewall? firewall, WantedPort port)
    {
        if (firewall is null or { Open: true }) return null;
        var protocol = IsUdpPort(port) ? IpProtocol.Udp : IpProtocol.Tcp;
        var rules = firewall.Rules
            .Where(r => r.Protocol == protocol && port.VmPort >= r.First && port.VmPort <= r.Last).ToList();
        return rules.Exists(r => r.Source is null) ? null : [.. rules.Select(r => r.Source!.Value.ToString())];
    }

    public bool Admits(IPAddress from) => From is null
        || From.Any(n => IPNetwork.Parse(n).Contains(from.IsIPv4MappedToIPv6 ? from.MapToIPv4() : from));

    /// <summary>Whether it leads from and to the same port, whoever may use it.</summary>
    public bool IsSamePort(Forward other) => (HostPort, VmPort, IsUdp) == (other.HostPort, other.VmPort, other.IsUdp);
}

/// <summary>What listens on a port of this machine for one of a VM.</summary>
interface IForwarder : IAsyncDisposable
{
    /// <summary>Who may use it can change while it listens.</summary>
    Forward? Forward { get; set; }

    /// <summary>Address of the VM.</summary>
    IPAddress Target { get; }
}
