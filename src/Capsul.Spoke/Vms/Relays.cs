using System.Collections.Concurrent;
using System.Net;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>The relays of this machine, at most one per VM.</summary>
public interface IRelays : IAsyncDisposable
{
    /// <summary>The name or address at which people reach the ports.</summary>
    string PublicName { get; }

    /// <summary>Makes sure that a VM has a relay, and returns its port: the preferred one if it is free.</summary>
    /// <exception cref="HypervisorException">No port is free.</exception>
    Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel);

    Task CloseAsync(string id, CancellationToken cancel);
}

/// <summary>Relays in this process: they end with it.</summary>
public sealed class Relays(Settings settings, Dial dial, ILogger log) : IRelays
{
    readonly ConcurrentDictionary<string, Relay> open = new(StringComparer.Ordinal);

    public string PublicName => settings.SshHost;

    public async Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel)
    {
        if (open.TryGetValue(id, out var relay))
        {
            if (relay.Target.Equals(target)) return relay.Port;
            await CloseAsync(id, cancel);
        }
        relay = Relay.Open(settings.RelayAddress, settings.RelayPorts, preferred, dial, target, log);
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

/// <summary>Ports without sockets, for simulated machines: nobody can connect to them.</summary>
public sealed class PretendedRelays(Settings settings) : IRelays
{
    readonly Lock gate = new();
    readonly Dictionary<string, int> open = new(StringComparer.Ordinal);
    readonly HashSet<int> taken = [];

    public string PublicName => settings.SshHost;

    public Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel)
    {
        lock (gate)
        {
            if (open.TryGetValue(id, out var port)) return Task.FromResult(port);
            if (preferred > 0 && taken.Add(preferred)) return Task.FromResult(open[id] = preferred);
            for (port = settings.RelayPorts.First; port <= settings.RelayPorts.Last; port++)
            {
                if (taken.Add(port)) return Task.FromResult(open[id] = port);
            }
            throw new HypervisorException("No port is free for SSH; widen CAPSUL_RELAY_PORTS.", final: false);
        }
    }

    public Task CloseAsync(string id, CancellationToken cancel)
    {
        lock (gate)
        {
            if (open.Remove(id, out var port)) taken.Remove(port);
        }
        return Task.CompletedTask;
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
