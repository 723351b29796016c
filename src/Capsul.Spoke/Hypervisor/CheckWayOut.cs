using Capsul.Foundation;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Spoke.Hypervisor;

/// <summary>The line of <c>capsul doctor</c> about the VMs' way out. Changes nothing.</summary>
public static class CheckWayOut
{
    const string What = "way out";

    public static async Task<Finding> RunAsync(Settings settings, CancellationToken cancel)
    {
        if (settings.Simulated) return new(Verdict.Ok, What, "not needed by the simulated hypervisor");
        if (settings.Libvirt != "private")
            return new(Verdict.Ok, What, $"the network of {settings.Libvirt} decides; Capsul's is isolated there");
        if (!settings.Outbound) return new(Verdict.Ok, What, "closed by CAPSUL_OUTBOUND; VMs reach nothing outside");
        if (settings.NetworkMode != "private") return await RoutedAsync(settings, cancel);
        if (PublicAddress.Is(settings.VmNetwork.BaseAddress)
            || settings.VmNetwork6 is { } six && PublicAddress.Is(six.BaseAddress))
            return new(Verdict.Warn, What, "the VMs' addresses are public ones, but in private mode nobody outside "
                + "reaches them: set CAPSUL_NETWORK=routed if they are routed to this machine");
        if (!File.Exists("/usr/bin/pasta"))
            return new(Verdict.Warn, What, "VMs cannot reach the internet: /usr/bin/pasta is missing (package passt)");
        if (!Environment.IsPrivilegedProcess)
            return new(Verdict.Ok, What, "pasta; whether it is running is seen with: sudo capsul doctor");
        var mail = settings.OutboundMail ? "open" : "closed";
        if (Sandbox.Attach(settings) is not { } sandbox)
            return new(Verdict.Ok, What, $"pasta, started with the first VM's sandbox; TCP port 25 is {mail}");
        using (sandbox)
        {
            return new WayOut(sandbox, TimeProvider.System, NullLogger.Instance).IsRunning
                ? new(Verdict.Ok, What, $"pasta is running; TCP port 25 is {mail}")
                : new(Verdict.Warn, What, "pasta is not running, so VMs cannot reach the internet. Capsul starts it "
                    + "within seconds; if it does not, this machine has no default route, or the Spoke's log says why");
        }
    }

    static async Task<Finding> RoutedAsync(Settings settings, CancellationToken cancel)
    {
        var mode = settings.NetworkMode;
        if (!Environment.IsPrivilegedProcess)
            return new(Verdict.Ok, What, $"{mode} mode; whether it works is seen with: sudo capsul doctor");
        if (await WayOut.ObstacleAsync(settings, Sandbox.RunFolder(settings), cancel)
            is { Length: > 0 } obstacle)
            return new(Verdict.Warn, What, $"{mode} mode: {obstacle}");
        var networks = settings.IsBridged
            ? $"{settings.VmRange.First} to {settings.VmRange.Last} on {settings.Bridge}"
            : string.Join(" and ", settings.RoutedNetworks);
        if (Sandbox.Attach(settings) is not { } sandbox)
            return new(Verdict.Ok, What, $"{mode} mode, {networks}; connected with the first VM's sandbox");
        using (sandbox)
        {
            return await new WayOut(sandbox, TimeProvider.System, NullLogger.Instance).IsConnectedAsync(cancel)
                ? new(Verdict.Ok, What, $"{mode} mode: {networks} lead to the VMs")
                : new(Verdict.Warn, What, $"{mode} mode: the VMs are not connected. Capsul connects them within "
                    + "seconds; if it does not, the Spoke's log says why");
        }
    }
}
