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

    /// <summary>Those of this machine that may lead to VMs, besides relays; null: none.</summary>
    (int First, int Last)? ForwardPorts { get; }

    /// <summary>Makes sure that a VM has a relay, and returns its port: the preferred one if it is free.</summary>
    /// <exception cref="HypervisorException">No port is free.</exception>
    Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel);

    /// <summary>Makes sure that exactly these ports lead to a VM. Returns those that cannot: they are in use.</summary>
    Task<IReadOnlyList<int>> ForwardAsync(
        string id, IReadOnlyList<Forward> forwards, IPAddress target, CancellationToken cancel);

    /// <summary>Closes the relay of a VM, and all other ports that lead to it.</summary>
    Task CloseAsync(string id, CancellationToken cancel);
}

/// <summary>Relays in this process: they end with it.</summary>
public sealed class Relays(Settings settings, Dial dial, DialUdp dialUdp, ILogger log) : IRelays
{
    readonly ConcurrentDictionary<string, Relay> open = new(StringComparer.Ordinal);

    /// <summary>The other ports of each VM. Its list is only changed by who has the gate.</summary>
    readonly ConcurrentDictionary<string, List<IForwarder>> forwarded = new(StringComparer.Ordinal);
    readonly SemaphoreSlim gate = new(1, 1);

    public string PublicName => settings.SshHost;

    public (int First, int Last)? ForwardPorts => settings.ForwardPorts;

    public async Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel)
    {
        if (open.TryGetValue(id, out var relay))
        {
            if (relay.Target.Equals(target)) return relay.Port;
            if (open.TryRemove(id, out relay)) await relay.DisposeAsync();
        }
        relay = Relay.Open(settings.RelayAddress, settings.RelayPorts, preferred, dial, target, log);
        open[id] = relay;
        return relay.Port;
    }

    public async Task<IReadOnlyList<int>> ForwardAsync(
        string id, IReadOnlyList<Forward> forwards, IPAddress target, CancellationToken cancel)
    {
        await gate.WaitAsync(cancel);
        try
        {
            var now = forwarded.GetOrAdd(id, _ => []);
            foreach (var old in now.Where(r => !r.Target.Equals(target)
                || !forwards.Any(f => f.IsSamePort(r.Forward!))).ToList())
            {
                now.Remove(old);
                await old.DisposeAsync();
            }
            var inUse = new List<int>();
            foreach (var forward in forwards)
            {
                if (now.Find(r => forward.IsSamePort(r.Forward!)) is { } there)
                {
                    there.Forward = forward;
                    continue;
                }
                if (TryOpen(forward, target) is { } opened) now.Add(opened);
                else inUse.Add(forward.HostPort);
            }
            if (now.Count == 0) forwarded.TryRemove(id, out _);
            return inUse;
        }
        finally
        {
            gate.Release();
        }
    }

    /// <summary>Null: the port is in use.</summary>
    IForwarder? TryOpen(Forward forward, IPAddress target) => forward.IsUdp
        ? UdpRelay.TryOpen(settings.RelayAddress, forward, dialUdp, target, log)
        : Relay.TryOpen(settings.RelayAddress, forward, dial, target, log);

    public async Task CloseAsync(string id, CancellationToken cancel)
    {
        if (open.TryRemove(id, out var relay)) await relay.DisposeAsync();
        if (forwarded.ContainsKey(id)) await ForwardAsync(id, [], IPAddress.None, cancel);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var relay in open.Values.Concat<IForwarder>(forwarded.Values.SelectMany(f => f)))
            await relay.DisposeAsync();
        open.Clear();
        forwarded.Clear();
        gate.Dispose();
    }
}

/// <summary>Ports without sockets, for simulated machines: nobody can connect to them.</summary>
public sealed class PretendedRelays(Settings settings) : IRelays
{
    readonly Lock gate = new();
    readonly Dictionary<string, int> open = new(StringComparer.Ordinal);
    readonly HashSet<int> taken = [];

    public string PublicName => settings.SshHost;

    public (int First, int Last)? ForwardPorts => settings.ForwardPorts;

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

    public Task<IReadOnlyList<int>> ForwardAsync(
        string id, IReadOnlyList<Forward> forwards, IPAddress target, CancellationToken cancel) =>
        Task.FromResult<IReadOnlyList<int>>([]);

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
