using System.Collections.Concurrent;
using System.Net.WebSockets;
using System.Text;
using Capsul.Hub.Features.Accounts;
using Capsul.Postgres;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;

namespace Capsul.Hub.Features.Consoles;

/// <summary>
/// A console or a screen over a WebSocket (RFC 6455): binary messages are what the guest shows, and what is typed. It
/// ends with the session of the browser that opened it, when the VM is no longer there for its owner, and when nothing
/// was typed or shown for long; the close reason is a sentence for the person.
/// </summary>
public sealed class ConsoleSocket(
    Db db, Sessions sessions, IEnumerable<IHostConsoles> hosts, TimeProvider time, IHostApplicationLifetime lifetime)
{
    /// <summary>Open consoles and screens of one account, and of all: each is a stream to a host.</summary>
    public const int MaxOfAccount = 8, MaxOpen = 1000;

    static readonly TimeSpan CloseLimit = TimeSpan.FromSeconds(5);

    /// <summary>Of the codes for private use: the script tries again.</summary>
    const WebSocketCloseStatus TryAgain = (WebSocketCloseStatus)4001;

    /// <summary>A close reason has at most 123 bytes.</summary>
    const int MaxReasonBytes = 123;

    readonly ConcurrentDictionary<string, int> open = new(StringComparer.Ordinal);
    int all;

    /// <summary>GET /vms/{id}/console/socket?token=…, and likewise for the screen.</summary>
    public async Task OpenAsync(ViewKind kind, string id, HttpContext context, CancellationToken cancel)
    {
        if (!context.WebSockets.IsWebSocketRequest)
        {
            context.Response.StatusCode = StatusCodes.Status400BadRequest;
            return;
        }
        using var socket = await context.WebSockets.AcceptWebSocketAsync();
        // Only now, because a browser shows its script nothing of a response that refuses.
        await CloseAsync(socket, await CarryAsync(kind, id, context, socket, cancel));
    }

    async Task<ConsoleEnd> CarryAsync(
        ViewKind kind, string id, HttpContext context, WebSocket socket, CancellationToken cancel)
    {
        var token = context.Request.Query["token"].ToString();
        var used = await OpenConsole.UseAsync(db, id, token, sessions.HashOf(context), kind, time, cancel);
        if (used.Refused(out var problem, out var vm)) return new ConsoleEnd(problem.Message);
        try
        {
            Count(vm.Email, 1);
            if (open[vm.Email] > MaxOfAccount || Volatile.Read(ref all) > MaxOpen)
                return new ConsoleEnd("Too many consoles and screens are open. Close some of them.");
            // None if pages are shown without the rest of the Hub.
            if (hosts.FirstOrDefault() is not { } consoles) return new ConsoleEnd("No host is connected to this Hub.");
            if ((await consoles.OpenAsync(vm.Host, id, kind, cancel)).Refused(out var closed, out var console))
                return new ConsoleEnd(closed.Message, Again: true);
            await using var opened = console;
            using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel, lifetime.ApplicationStopping);
            return await new ConsoleSession(db, sessions, context, vm, kind, socket, console, time).RunAsync(end);
        }
        finally
        {
            Count(vm.Email, -1);
        }
    }

    void Count(string email, int more)
    {
        Interlocked.Add(ref all, more);
        if (open.AddOrUpdate(email, more, (_, count) => count + more) <= 0)
            open.TryRemove(KeyValuePair.Create(email, 0));
    }

    async Task CloseAsync(WebSocket socket, ConsoleEnd end)
    {
        var reason = end.Reason;
        if (socket.State is not (WebSocketState.Open or WebSocketState.CloseReceived)) return;
        while (Encoding.UTF8.GetByteCount(reason) > MaxReasonBytes) reason = reason[..^1];
        using var limit = new CancellationTokenSource(CloseLimit, time);
        try
        {
            await socket.CloseAsync(
                end.Again ? TryAgain : WebSocketCloseStatus.NormalClosure, reason, limit.Token);
        }
        catch (Exception error) when (error is WebSocketException or OperationCanceledException or IOException)
        {
            // The other side has gone.
        }
    }
}
