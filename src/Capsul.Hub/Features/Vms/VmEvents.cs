using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;
using Microsoft.Net.Http.Headers;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Server-sent events for a page that shows a VM, or the list of them. An event only says "look again": the page then fetches itself,
/// so what is shown has one source. The page says which version it shows, so that nothing is missed between its rendering and its first word here. Woken by the database's notifications; looks by itself now and then in case one was lost. A
/// stream ends after a few minutes and the browser opens the next one, which asks anew who is there.
/// </summary>
public sealed class VmEvents(Db db, Listener listener, TimeProvider time, IHostApplicationLifetime lifetime)
{
    /// <summary>Open streams of one account; each is a connection.</summary>
    public const int MaxStreams = 16;

    static readonly TimeSpan Longest = TimeSpan.FromMinutes(5), LookAgain = TimeSpan.FromSeconds(10);

    readonly ConcurrentDictionary<string, int> open = new(StringComparer.Ordinal);

    /// <summary>GET /vms/{id}/events.</summary>
    public Task<IResult> OneAsync(string id, HttpContext context, CancellationToken cancel) =>
        StreamAsync(context, VmPageSql.Version, id, cancel);

    /// <summary>GET /console/events.</summary>
    public Task<IResult> AllAsync(HttpContext context, CancellationToken cancel) =>
        StreamAsync(context, VmPageSql.ListVersion, null, cancel);

    /// <summary>What a page says it shows: a short name for what a version statement gave.</summary>
    public static string Seen(string? version) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(version ?? "")).AsSpan(0, 8));

    async Task<IResult> StreamAsync(HttpContext context, string sql, string? id, CancellationToken cancel)
    {
        var email = Actor.Of(context).Email;
        using var changes = listener.Subscribe(Listener.Vms, id);
        if (await db.FindAsync<string>(sql, new { id, email }, cancel) is null)
            return Problems.Result(context, VmAction.NotFound);
        var seen = context.Request.Headers["Last-Event-ID"].FirstOrDefault() ?? context.Request.Query["seen"].FirstOrDefault() ?? "";
        try
        {
            if (open.AddOrUpdate(email, 1, (_, count) => count + 1) > MaxStreams)
                return Problems.Result(context, new Problem(ProblemKind.RateLimited, "Too many pages of yours wait for news. Close some of them."));
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel, lifetime.ApplicationStopping);
            await SendAsync(context, changes, seen, () => db.FindAsync<string>(sql, new { id, email }, stop.Token), stop.Token);
        }
        catch (OperationCanceledException)
        {
            // The reader left, or the Hub stops: the ordinary end of a stream.
        }
        finally
        {
            if (open.AddOrUpdate(email, 0, (_, count) => count - 1) <= 0)
                open.TryRemove(KeyValuePair.Create(email, 0));
        }
        return Results.Empty;
    }

    async Task SendAsync(HttpContext context, Subscription changes, string seen, Func<Task<string?>> look, CancellationToken cancel)
    {
        context.Response.ContentType = "text/event-stream";
        context.Response.Headers[HeaderNames.CacheControl] = "no-store";
        // Proxies that collect answers (nginx) would hold the events back.
        context.Response.Headers["X-Accel-Buffering"] = "no";
        await WriteAsync(context, "retry: 2000\n\n", cancel);
        var end = time.GetUtcNow() + Longest;
        while (time.GetUtcNow() < end && await look() is { } version)
        {
            var now = Seen(version);
            await WriteAsync(context, now == seen ? ":\n\n" : $"id: {now}\nevent: changed\ndata: look\n\n", cancel);
            seen = now;
            await changes.WaitAsync(LookAgain, cancel);
        }
    }

    static async Task WriteAsync(HttpContext context, string text, CancellationToken cancel)
    {
        await context.Response.WriteAsync(text, cancel);
        await context.Response.Body.FlushAsync(cancel);
    }
}
