using System.Collections.Concurrent;
using System.Net;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>The relays of this host, one a VM at most: a port of the machine for each VM's SSH.</summary>
public sealed class Relays(Settings settings, IHypervisor hypervisor, ILogger log) : IAsyncDisposable
{
    readonly ConcurrentDictionary<string, Relay> open = new(StringComparer.Ordinal);

    /// <summary>Under which name or address people reach the ports.</summary>
    public string PublicName => settings.SshHost;

    /// <summary>Makes sure that a VM has its relay and gives the port: the preferred one if it is free.</summary>
    /// <exception cref="HypervisorException">No port is free.</exception>
    public async Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel)
    {
        if (open.TryGetValue(id, out var relay))
        {
            if (relay.Target.Equals(target)) return relay.Port;
            await CloseAsync(id, cancel);
        }
        relay = Relay.Open(settings.RelayAddress, settings.RelayPorts, preferred, hypervisor, target, log);
        open[id] = relay;
        return relay.Port;
    }

    public async Task CloseAsync(string id, CancellationToken cancel)
    {
        if (open.TryRemove(id, out var relay)) await relay.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var relay in open.Values) await relay.DisposeAsync();
        open.Clear();
    }
}
