using System.Collections.Concurrent;
using System.Globalization;

namespace Capsul.Fleet;

/// <summary>What the Spokes of a fleet have seen since the start.</summary>
public sealed class FleetCounts
{
    readonly ConcurrentDictionary<string, long> reasons = new(StringComparer.Ordinal);
    int connected;
    long connects, breaks, cuts, problems, faults, restarts;

    public int Connected => Volatile.Read(ref connected);
    public long Connects => Interlocked.Read(ref connects);
    public long Breaks => Interlocked.Read(ref breaks);
    /// <summary>Breaks of connections that the Hub had accepted.</summary>
    public long Cuts => Interlocked.Read(ref cuts);
    /// <summary>Failed rounds of VMs.</summary>
    public long Problems => Interlocked.Read(ref problems);
    /// <summary>Calls of the hypervisor that misbehaved.</summary>
    public long Faults => Interlocked.Read(ref faults);
    /// <summary>Spokes that were ended and started again.</summary>
    public long Restarts => Interlocked.Read(ref restarts);

    /// <summary>Why connections broke, and how often, the most frequent first.</summary>
    public IReadOnlyList<KeyValuePair<string, long>> Reasons =>
        [.. reasons.OrderByDescending(r => r.Value).ThenBy(r => r.Key, StringComparer.Ordinal)];

    public void Connect()
    {
        Interlocked.Increment(ref connected);
        Interlocked.Increment(ref connects);
    }

    /// <param name="wasConnected">The Hub had answered on this connection.</param>
    public void Break(string why, bool wasConnected)
    {
        if (wasConnected)
        {
            Interlocked.Decrement(ref connected);
            Interlocked.Increment(ref cuts);
        }
        Interlocked.Increment(ref breaks);
        reasons.AddOrUpdate(why, 1, (_, n) => n + 1);
    }

    /// <summary>A Spoke was ended on purpose.</summary>
    public void End(bool wasConnected)
    {
        if (wasConnected) Interlocked.Decrement(ref connected);
        Interlocked.Increment(ref restarts);
    }

    public void CountProblem() => Interlocked.Increment(ref problems);

    public void CountFault() => Interlocked.Increment(ref faults);
}

/// <summary>
/// The log of one Spoke of a fleet: nothing is written, but its connects, breaks and failures are counted by the IDs of
/// its messages (HubConnection, VmReconciler).
/// </summary>
sealed class FleetLog(FleetCounts counts) : ILoggerFactory, ILogger
{
    const int Connected = 430, Broken = 431, Failed = 410, Threw = 411;

    int connected;

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider) => throw new NotSupportedException();

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        switch (eventId.Id)
        {
            case Connected when Interlocked.Exchange(ref connected, 1) == 0:
                counts.Connect();
                break;
            case Broken:
                counts.Break(Why(state), Interlocked.Exchange(ref connected, 0) == 1);
                break;
            case Failed or Threw:
                counts.CountProblem();
                break;
        }
    }

    /// <summary>The Spoke was ended.</summary>
    public void End() => counts.End(Interlocked.Exchange(ref connected, 0) == 1);

    static string Why<TState>(TState state) =>
        state is IReadOnlyList<KeyValuePair<string, object?>> parts
        && parts.FirstOrDefault(p => p.Key == "Why").Value is { } why
            ? Convert.ToString(why, CultureInfo.InvariantCulture)!.ReplaceLineEndings(" ")
            : "?";

    public void Dispose() { }
}
