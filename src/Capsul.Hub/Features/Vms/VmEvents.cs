using System.Collections.Concurrent;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Server-sent events for a page that shows a VM, or the list of them. An event only says "refresh": the page then
/// fetches itself, so there is one source for what is shown. The page sends the version it shows, so that no change
/// between its rendering and this request is missed. Woken by database notifications; also polls occasionally in case
/// one was lost. A stream ends with the session, and after a few minutes at the latest; the browser opens the next one,
/// which authenticates again.
/// </summary>
public sealed class VmEvents(
    Db db, Listener listener, AccountWatches watches, Sessions sessions, TimeProvider time,
    IHostApplicationLifetime lifetime)
{
    /// <summary>Maximum number of open streams per account; each is a connection.</summary>
    public const int MaxStreams = 16;

    static readonly TimeSpan Longest = TimeSpan.FromMinutes(5),
        LookAgain = TimeSpan.FromSeconds(20), Reconnect = TimeSpan.FromSeconds(2);

    readonly ConcurrentDictionary<string, int> open = new(StringComparer.Ordinal);

    /// <summary>What a stream watches: how to wait for a change, and the version after it.</summary>
    sealed record Source(
        IDisposable Ends, Func<TimeSpan, CancellationToken, Task<bool>> WaitAsync,
        Func<CancellationToken, Task<string?>> VersionAsync);

    /// <summary>GET /vms/{id}/events.</summary>
    public Task<IResult> OneAsync(string id, HttpContext context, CancellationToken cancel)
    {
        var owned = new { id, email = Actor.Of(context).Email };
        var changes = listener.Subscribe(Listener.Vms, id);
        Task<string?> ReadAsync(CancellationToken token) => db.FindAsync<string>(VmPageSql.Version, owned, token);
        return StreamAsync(context, new Source(changes, changes.WaitAsync, ReadAsync), ReadAsync, cancel);
    }

    /// <summary>GET /console/events.</summary>
    public Task<IResult> AllAsync(HttpContext context, CancellationToken cancel)
    {
        var email = Actor.Of(context).Email;
        var watch = watches.Watch(email);
        Task<string?> ReadAsync(CancellationToken token) =>
            db.FindAsync<string>(BillingSql.Changes, new { email }, token);
        return StreamAsync(context, new Source(watch, watch.WaitAsync,
            async token => watch.Version ?? await ReadAsync(token)), ReadAsync, cancel);
    }

    /// <summary>The version that a page shows: a hash of what the version statement returned.</summary>
    public static string Seen(string? version) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(version ?? "")).AsSpan(0, 8));

    /// <param name="first">Reads the version itself, whatever others have seen before.</param>
    async Task<IResult> StreamAsync(
        HttpContext context, Source source, Func<CancellationToken, Task<string?>> first, CancellationToken cancel)
    {
        context.Response.RegisterForDispose(source.Ends);
        if (await first(cancel) is not { } version)
            return Problems.Result(context, VmAction.NotFound);
        var email = Actor.Of(context).Email;
        context.Response.RegisterForDispose(new Place(open, email));
        if (open[email] > MaxStreams)
            return Problems.Result(
                context, new Problem(ProblemKind.RateLimited, "Too many live pages are open. Close some of them."));
        // Proxies that buffer responses (nginx) would delay the events.
        context.Response.Headers["X-Accel-Buffering"] = "no";
        return TypedResults.ServerSentEvents(
            EventsAsync(context, source, version, lifetime.ApplicationStopping, cancel));
    }

    async IAsyncEnumerable<SseItem<string>> EventsAsync(
        HttpContext context, Source source, string first, CancellationToken stopping,
        [EnumeratorCancellation] CancellationToken cancel)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel, stopping);
        var seen = context.Request.Headers["Last-Event-ID"].FirstOrDefault()
            ?? context.Request.Query["seen"].FirstOrDefault() ?? "";
        var end = time.GetUtcNow() + Longest;
        // The first line is sent immediately; keep-alive lines reveal when the client has left.
        yield return new SseItem<string>("", "hello") { ReconnectionInterval = Reconnect };
        for (string? version = first; version is not null && time.GetUtcNow() < end;
            version = await LookAsync(context, source, stop.Token))
        {
            var now = Seen(version);
            yield return now == seen
                ? new SseItem<string>("", "quiet")
                : new SseItem<string>("look", "changed") { EventId = now };
            seen = now;
            if (!await WaitAsync(source, stop.Token)) yield break;
        }
    }

    /// <summary>
    /// The current version; null when the session has ended, or the VM no longer belongs to the account.
    /// </summary>
    async Task<string?> LookAsync(HttpContext context, Source source, CancellationToken cancel) =>
        await sessions.IsLiveAsync(context, cancel) ? await source.VersionAsync(cancel) : null;

    /// <summary>False when the client has left, or the Hub stops.</summary>
    static async Task<bool> WaitAsync(Source source, CancellationToken cancel)
    {
        try
        {
            await source.WaitAsync(LookAgain, cancel);
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>Counts one open stream of an account.</summary>
    sealed class Place : IDisposable
    {
        readonly ConcurrentDictionary<string, int> open;
        readonly string email;

        public Place(ConcurrentDictionary<string, int> open, string email)
        {
            (this.open, this.email) = (open, email);
            open.AddOrUpdate(email, 1, (_, count) => count + 1);
        }

        public void Dispose()
        {
            if (open.AddOrUpdate(email, 0, (_, count) => count - 1) <= 0)
                open.TryRemove(KeyValuePair.Create(email, 0));
        }
    }
}
