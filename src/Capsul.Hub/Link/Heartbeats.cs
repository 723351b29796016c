using System.Collections.Concurrent;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Leadership;

namespace Capsul.Hub.Link;

/// <summary>
/// The last heartbeat of each host. They are answered on arrival and saved together every two seconds, so that a
/// thousand hosts cost one transaction, and no heartbeat waits behind an inventory.
/// </summary>
public sealed class Heartbeats(Fence fence, TimeProvider time) : IActingWork
{
    static readonly TimeSpan SaveEvery = TimeSpan.FromSeconds(2), KeepFor = TimeSpan.FromMinutes(1);

    readonly ConcurrentDictionary<string, Beat> waiting = new(StringComparer.Ordinal);

    sealed record Beat(HeartbeatRow Row, DateTime At, long Acknowledged, Action MustReconnect);

    public string Name => "Saving heartbeats";

    /// <param name="host">The host.</param>
    /// <param name="heartbeat">What it reported.</param>
    /// <param name="acknowledged">The newest generation that the Spoke has acknowledged.</param>
    /// <param name="mustReconnect">Called when the host was offline, or its VMs were given up: it only reports changes,
    /// and a new connection begins with the full inventory.</param>
    public void Note(string host, HeartbeatRow heartbeat, long acknowledged, Action mustReconnect) =>
        waiting[host] = new Beat(heartbeat, time.GetUtcNow().UtcDateTime, acknowledged, mustReconnect);

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (true)
        {
            await SaveAsync(epoch, cancel);
            await Task.Delay(SaveEvery, time, cancel);
        }
    }

    /// <summary>
    /// Saves all that arrived since the last time. A host whose row is locked waits for the next time.
    /// </summary>
    public async Task SaveAsync(long epoch, CancellationToken cancel)
    {
        var beats = waiting.OrderBy(b => b.Key, StringComparer.Ordinal).ToList();
        if (beats.Count == 0) return;
        var now = time.GetUtcNow().UtcDateTime;
        var saved = await fence.InTransactionAsync(epoch, transaction => SaveAsync(transaction, beats, cancel), cancel);
        // Hosts that were renamed or removed meanwhile.
        foreach (var beat in beats.Where(b => now - b.Value.At > KeepFor)) waiting.TryRemove(beat);
        var byHost = beats.ToDictionary(StringComparer.Ordinal);
        foreach (var row in saved)
        {
            // A newer one has arrived, or is arriving: it stays.
            waiting.TryRemove(KeyValuePair.Create(row.Id, byHost[row.Id]));
            if (!row.WasOnline && byHost[row.Id].Row.Answers) byHost[row.Id].MustReconnect();
        }
    }

    static Task<IReadOnlyList<SavedHeartbeatRow>> SaveAsync(
        Npgsql.NpgsqlTransaction transaction, List<KeyValuePair<string, Beat>> beats, CancellationToken cancel) =>
        Postgres.TransactionVerbs.ListAsync<SavedHeartbeatRow>(transaction, HostSql.Heartbeats, new
        {
            ids = beats.Select(b => b.Key).ToArray(),
            times = beats.Select(b => b.Value.At).ToArray(),
            answers = beats.Select(b => b.Value.Row.Answers).ToArray(),
            diskFreeMb = beats.Select(b => b.Value.Row.DiskFreeMb).ToArray(),
            problems = beats.Select(b => b.Value.Row.Problem).ToArray(),
            skews = beats.Select(b => b.Value.Row.ClockSkewSeconds).ToArray(),
            acknowledged = beats.Select(b => b.Value.Acknowledged).ToArray(),
            rulesRemoved = beats.Select(b => b.Value.Row.RulesRemoved).ToArray(),
            cutOff = beats.Select(b => b.Value.Row.CutOff).ToArray(),
        }, cancel);
}
