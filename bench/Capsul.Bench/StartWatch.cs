using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Capsul.Bench;

/// <summary>
/// Notes the moment at which the Spoke tells libvirt to start a VM (log event 4109), on the clock of <see
/// cref="Stopwatch"/>.
/// </summary>
sealed class StartWatch : ILoggerProvider
{
    const int Starting = 4109;

    public ConcurrentDictionary<string, long> StartedAt { get; } = new(StringComparer.Ordinal);

    public ILogger CreateLogger(string categoryName) => new Ear(this);

    public void Dispose() { }

    sealed class Ear(StartWatch watch) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            if (eventId.Id != Starting || state is not IReadOnlyList<KeyValuePair<string, object?>> parts) return;
            watch.StartedAt.TryAdd((string)parts.First(p => p.Key == "Id").Value!, Stopwatch.GetTimestamp());
        }
    }
}
