using Capsul.Foundation;

namespace Capsul.Hub.Storage;

/// <summary>A wake-up signal. Wakes without a waiter are coalesced into one.</summary>
public sealed class Subscription(
    string channel, string? payload, TimeProvider time, Action<Subscription> end) : IDisposable
{
    readonly Signal signal = new();

    public string Channel { get; } = channel;

    /// <summary>Null matches every payload.</summary>
    public string? Payload { get; } = payload;

    /// <summary>Waits for the next wake, or for <paramref name="limit"/>; true when woken.</summary>
    public Task<bool> WaitAsync(TimeSpan limit, CancellationToken cancel) => signal.WaitAsync(limit, time, cancel);

    /// <summary>Wakes the waiter.</summary>
    public void Wake() => signal.Set();

    public void Dispose() => end(this);
}

/// <summary>
/// Who waits for what, by channel and payload: the cost of a notification depends on who waits for it, not on how many
/// wait in all.
/// </summary>
sealed class Subscriptions
{
    readonly Lock gate = new();
    readonly Dictionary<(string Channel, string? Payload), List<Subscription>> waiting = [];

    public Subscription Add(string channel, string? payload, TimeProvider time)
    {
        var subscription = new Subscription(channel, payload, time, Remove);
        lock (gate)
        {
            if (!waiting.TryGetValue((channel, payload), out var list)) waiting[(channel, payload)] = list = [];
            list.Add(subscription);
        }
        return subscription;
    }

    void Remove(Subscription subscription)
    {
        var key = (subscription.Channel, subscription.Payload);
        lock (gate)
        {
            if (!waiting.TryGetValue(key, out var list)) return;
            list.Remove(subscription);
            if (list.Count == 0) waiting.Remove(key);
        }
    }

    /// <summary>Wakes those who wait for this payload, and those who wait for any.</summary>
    public void Wake(string channel, string payload)
    {
        Wake((channel, payload));
        Wake((channel, null));
    }

    void Wake((string, string?) key)
    {
        Subscription[] list;
        lock (gate)
        {
            if (!waiting.TryGetValue(key, out var found)) return;
            list = [.. found];
        }
        foreach (var subscription in list) subscription.Wake();
    }

    public void WakeAll()
    {
        Subscription[] all;
        lock (gate) all = [.. waiting.Values.SelectMany(s => s)];
        foreach (var subscription in all) subscription.Wake();
    }
}
