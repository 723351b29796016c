using System.Collections.Concurrent;
using Capsul.Foundation;
using Capsul.Postgres;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Storage;

/// <summary>
/// One connection that LISTENs, shared by everything in this process that waits for a change in the database. A
/// notification is only a hint to check again; after a lost connection every waiter is woken, because notifications may
/// have been missed. What this process's own background work changed is announced to it directly, and passed on to the
/// other processes a moment later, many changes in one notification.
/// </summary>
public sealed partial class Listener(Db db, TimeProvider time, ILogger<Listener> log) : BackgroundService
{
    /// <summary>Channels that the schema's triggers notify. The payload is an ID, or an account.</summary>
    public const string Operations = "capsul_operations", Hosts = "capsul_hosts",
        Vms = "capsul_vms", Accounts = "capsul_accounts", Mails = "capsul_mails", Builds = "capsul_builds",
        Payments = "capsul_payments";

    /// <summary>Changes passed on by another process: its name, then a line for each, channel and payload.</summary>
    const string PassedOn = "capsul_passed_on";

    /// <summary>PostgreSQL allows 8000 bytes.</summary>
    const int MaxPayloadChars = 7000;

    static readonly TimeSpan RetryAfter = TimeSpan.FromSeconds(1), PassOnAfter = TimeSpan.FromMilliseconds(50);

    readonly string origin = Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(8));
    readonly Subscriptions subscriptions = new();
    readonly ConcurrentDictionary<string, byte> toPassOn = new(StringComparer.Ordinal);
    readonly Signal hasChanges = new();
    volatile bool listening;

    /// <summary>
    /// Subscribes to a channel; a null <paramref name="payload"/> matches every payload. Dispose to unsubscribe.
    /// </summary>
    public Subscription Subscribe(string channel, string? payload = null) =>
        subscriptions.Add(channel, payload, time);

    /// <summary>
    /// Announces what a committed transaction changed: a line for each change, with channel, space, payload.
    /// </summary>
    public void Announce(string changes)
    {
        foreach (var line in changes.Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Distinct(StringComparer.Ordinal))
        {
            Tell(line);
            if (listening) toPassOn[line] = 0;
        }
        if (!toPassOn.IsEmpty) hasChanges.Set();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => RunAsync(stoppingToken);

    /// <summary>Listens until canceled; reconnects automatically.</summary>
    public Task RunAsync(CancellationToken cancel) =>
        Task.WhenAll(ListenAlwaysAsync(cancel), PassOnAlwaysAsync(cancel));

    async Task ListenAlwaysAsync(CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            try
            {
                await ListenAsync(cancel);
            }
            catch (Exception error)
                when (error is NpgsqlException or IOException or TimeoutException && !cancel.IsCancellationRequested)
            {
                Log.Lost(log, error.Message);
                await Task.Delay(RetryAfter, time, cancel);
            }
        }
    }

    async Task ListenAsync(CancellationToken cancel)
    {
        await using var connection = await db.OpenAloneAsync("capsul listener", cancel, parts => parts.KeepAlive = 5);
        connection.Notification += (_, e) => Hear(e.Channel, e.Payload);
        await using (var command = new NpgsqlCommand(ListenerSql.Listen, connection))
            await command.ExecuteNonQueryAsync(cancel);
        listening = true;
        subscriptions.WakeAll();
        while (true)
            await connection.WaitAsync(cancel);
    }

    void Hear(string channel, string payload)
    {
        if (channel != PassedOn)
        {
            subscriptions.Wake(channel, payload);
            return;
        }
        var lines = payload.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (lines is [var from, .. var changes] && from != origin)
            foreach (var line in changes) Tell(line);
    }

    void Tell(string line)
    {
        var space = line.IndexOf(' ', StringComparison.Ordinal);
        if (space < 0) subscriptions.Wake(line, "");
        else subscriptions.Wake(line[..space], line[(space + 1)..]);
    }

    async Task PassOnAlwaysAsync(CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await hasChanges.WaitAsync(Timeout.InfiniteTimeSpan, time, cancel);
            await Task.Delay(PassOnAfter, time, cancel);
            var lines = toPassOn.Keys.ToList();
            foreach (var line in lines) toPassOn.TryRemove(line, out _);
            try
            {
                await db.ExecuteAsync(ListenerSql.PassOn, new { payloads = Payloads(lines).ToArray() }, cancel);
            }
            catch (Exception error)
                when (error is NpgsqlException or IOException or TimeoutException && !cancel.IsCancellationRequested)
            {
                // The others lose their connections, too, and check everything when they have new ones.
                Log.NotPassedOn(log, error.Message);
            }
        }
    }

    /// <summary>As many changes in each as fit.</summary>
    IEnumerable<string> Payloads(IEnumerable<string> lines)
    {
        var payload = origin;
        foreach (var line in lines)
        {
            if (payload.Length + line.Length > MaxPayloadChars)
            {
                yield return payload;
                payload = origin;
            }
            payload += "\n" + line;
        }
        if (payload != origin) yield return payload;
    }

    static partial class Log
    {
        [LoggerMessage(120, LogLevel.Warning, "The connection for notifications was lost: {Why}; reconnecting")]
        public static partial void Lost(ILogger log, string why);

        [LoggerMessage(121, LogLevel.Warning, "Changes could not be passed on to other Hubs: {Why}")]
        public static partial void NotPassedOn(ILogger log, string why);
    }
}
