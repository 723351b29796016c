using System.Net;

namespace Capsul.Spoke.Vms;

/// <summary>Ports of this host that lead to the VM.</summary>
public sealed partial class VmReconciler
{
    /// <summary>One sentence if a port cannot be opened; the VM is none the worse for it.</summary>
    string portProblem = "";

    bool mayHavePorts = true;

    async Task ForwardAsync(VmRecord current, CancellationToken cancel)
    {
        var forwards = Forward.Of(current.Wanted);
        if (forwards.Count == 0 && !mayHavePorts) return;
        // Whatever the Hub wants: other ports of this machine are not for VMs.
        var own = forwards.Where(IsOwn).ToList();
        var inUse = await relays.ForwardAsync(Id, own, IPAddress.Parse(current.Wanted.Address), cancel);
        mayHavePorts = own.Count > 0;
        var foreign = forwards.Where(f => !IsOwn(f)).Select(f => f.HostPort).ToList();
        portProblem = inUse.Count > 0
            ? $"Port {string.Join(", ", inUse)} of the host is in use by something else; close it, and open another."
            : foreign.Count > 0
            ? $"Port {string.Join(", ", foreign)} of the host is no longer for VMs; close it, and open another." : "";

        bool IsOwn(Forward forward) => relays.ForwardPorts is { } range
            && forward.HostPort >= range.First && forward.HostPort <= range.Last;
    }
}
