using System.Net.Sockets;
using static Capsul.Spoke.Hypervisor.LibvirtNative;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Screens. QEMU listens nowhere for them: libvirt hands it one end of each connection.</summary>
public sealed partial class Libvirt
{
    /// <summary>virDomainOpenGraphicsFlags: no password, because only root can ask libvirt for this.</summary>
    const uint WithoutPassword = 1;

    public async Task<Line> OpenScreenAsync(string id, CancellationToken cancel)
    {
        Require(id);
        var socket = await libvirt.CallAsync($"open the screen of {id}", Slow, connect =>
        {
            using var domain = Lookup(connect, id);
            if (domain is null || !IsOn(domain)) throw new HypervisorException("It is off.", final: true);
            if (!DomainXml.HasScreen(Take(virDomainGetXMLDesc(domain, 0))))
                throw new HypervisorException("It has no screen until it is restarted: it was started by a "
                    + "version of Capsul without screens.", final: true);
            return new Socket(new SafeSocketHandle(Check(virDomainOpenGraphicsFD(domain, 0, WithoutPassword)),
                ownsHandle: true));
        }, cancel);
        return Line.Of(new NetworkStream(socket, ownsSocket: true));
    }

    static bool IsOn(DomainHandle domain)
    {
        Check(virDomainGetState(domain, out var state, out _, 0));
        return ToPower(state) == DomainPower.On;
    }
}
