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
/// have been missed.
/// </summary>
public sealed partial class Listener(Db db, TimeProvider time, ILogger<Listener> log) : BackgroundService
{
    /// <summary>Channels that the schema's triggers notify.</summary>
    public const string Operations = "capsul_operations", Hosts = "capsul_hosts",
        Vms = "capsul_vms", Mails = "capsul_mails", Accounts = "capsul_accounts";

    static readonly TimeSpan RetryAfter = TimeSpan.FromSeconds(1);
    readonly ConcurrentDictionary<Subscription, byte> subscriptions = new();

    /// <summary>
    /// Subscribes to a channel; a null <paramref name="payload"/> matches every payload. Dispose to unsubscribe.
    /// </summary>
    public Subscription Subscribe(string channel, string? payload = null)
    {
        var subscription = new Subscription(channel, payload, time, s => subscriptions.TryRemove(s, out _));
        subscriptions[subscription] = 0;
        return subscription;
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => RunAsync(stoppingToken);

    /// <summary>Listens until canceled; reconnects automatically.</summary>
    public async Task RunAsync(CancellationToken cancel)
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
        connection.Notification += (_, e) => Tell(e.Channel, e.Payload);
        await using (var listen = new NpgsqlCommand(ListenerSql.Listen, connection))
            await listen.ExecuteNonQueryAsync(cancel);
        Tell(null, null);
        while (true)
            await connection.WaitAsync(cancel);
    }

    void Tell(string? channel, string? payload)
    {
        foreach (var subscription in subscriptions.Keys)
        {
            if ((channel is null || subscription.Channel == channel)
                && (payload is null || subscription.Payload is null || subscription.Payload == payload))
                subscription.Wake();
        }
    }

    static partial class Log
    {
        [LoggerMessage(120, LogLevel.Warning, "The connection for notifications was lost: {Why}; reconnecting")]
        public static partial void Lost(ILogger log, string why);
    }
}

/// <summary>A wake-up signal. Wakes without a waiter are coalesced into one.</summary>
public sealed class Subscription(
    string channel, string? payload, TimeProvider time, Action<Subscription> end) : IDisposable
{
    readonly Signal signal = new();

    public string Channel { get; } = channel;

    public string? Payload { get; } = payload;

    /// <summary>Waits for the next wake, or for <paramref name="limit"/>; true when woken.</summary>
    public Task<bool> WaitAsync(TimeSpan limit, CancellationToken cancel) => signal.WaitAsync(limit, time, cancel);

    /// <summary>Wakes the waiter.</summary>
    public void Wake() => signal.Set();

    public void Dispose() => end(this);
}

static class ListenerSql
{
    public const string Listen = """
        -- ListenerSql.Listen
        LISTEN capsul_operations; LISTEN capsul_hosts; LISTEN capsul_vms; LISTEN capsul_mails;
        LISTEN capsul_accounts
        """;
}
