using System.Collections.Concurrent;
using System.Diagnostics;
using Npgsql;

namespace Capsul.Tests.Support;

/// <summary>
/// The names of the statements sent to one database, in order; a blank one is a statement of the test. Several that
/// were sent together, in one round trip, count as the first.
/// </summary>
public sealed class SentStatements : IDisposable
{
    readonly ConcurrentQueue<string> names = new();
    readonly ActivityListener listener;

    public SentStatements(WebHub hub)
    {
        var database = new NpgsqlConnectionStringBuilder(hub.Db.Address.ConnectionString).Database;
        listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Npgsql",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = activity => Add(activity, database),
        };
        ActivitySource.AddActivityListener(listener);
    }

    public IReadOnlyList<string> Names => [.. names];

    void Add(Activity activity, string? database)
    {
        if (!activity.TagObjects.Any(t => t.Value as string == database)) return;
        if (activity.GetTagItem("db.query.text") is not string text) return;
        var line = text.TrimStart().Split('\n', 2)[0];
        names.Enqueue(line.StartsWith("-- ", StringComparison.Ordinal) ? line[3..].Trim() : "");
    }

    public void Dispose() => listener.Dispose();
}
