using System.Net.WebSockets;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Vms;
using Capsul.Postgres;
using Capsul.Wire;
using Microsoft.AspNetCore.Http;
using Npgsql;

namespace Capsul.Hub.Features.Consoles;

/// <summary>Why a console or screen was closed; empty: whoever opened it has closed it.</summary>
/// <param name="Again">It may be opened again at once.</param>
sealed record ConsoleEnd(string Reason, bool Again = false);

/// <summary>One console or screen that somebody has open.</summary>
sealed class ConsoleSession(
    Db db, Sessions sessions, HttpContext context, VmRow vm, ViewKind kind, WebSocket socket, IHostConsole console,
    TimeProvider time)
{
    /// <summary>Types of messages of RFB's viewers (RFC 6143, 7.5) from here on are what somebody does.</summary>
    const byte FirstOfPerson = 4;

    static readonly TimeSpan Idle = TimeSpan.FromMinutes(30), CheckEvery = TimeSpan.FromSeconds(5),
        UncheckedLimit = TimeSpan.FromSeconds(60);

    /// <summary>The browser that opened it has one; a terminal does not.</summary>
    readonly bool hasSession = sessions.HashOf(context) is not null;
    long lastUsed = time.GetTimestamp();
    string reason = "";
    bool again;

    /// <summary>Returns why it ended.</summary>
    /// <param name="end">Ends it, because the Hub stops; canceled when it ends.</param>
    public async Task<ConsoleEnd> RunAsync(CancellationTokenSource end)
    {
        Task[] parts = [ShowAsync(end.Token), TypeAsync(end.Token), WatchAsync(end.Token)];
        var first = await Task.WhenAny(parts);
        await end.CancelAsync();
        await Task.WhenAll(parts).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        try
        {
            await first;
            return new ConsoleEnd(reason, again);
        }
        catch (OperationCanceledException)
        {
            return new ConsoleEnd("The Hub is being restarted.", Again: true);
        }
        catch (Exception error) when (error is WebSocketException or IOException)
        {
            return new ConsoleEnd($"The connection to {vm.Host} was lost.", Again: true);
        }
    }

    void Use() => Interlocked.Exchange(ref lastUsed, time.GetTimestamp());

    /// <summary>Canceling a send or a receive would abort the connection, and nobody would learn why.</summary>
    async Task ShowAsync(CancellationToken cancel)
    {
        while (await console.ReadAsync(cancel) is { } part)
        {
            // A screen changes by itself for as long as somebody looks: its cursor blinks.
            if (kind == ViewKind.Console) Use();
            await socket.SendAsync(part, WebSocketMessageType.Binary, endOfMessage: true, CancellationToken.None)
                .AsTask().WaitAsync(cancel);
        }
        (reason, again) = console.Problem is { Length: > 0 } problem
            ? (problem, await IsComingBackAsync(cancel)) : ($"The connection to {vm.Host} was lost.", true);
    }

    /// <summary>Whether the VM is being started again.</summary>
    async Task<bool> IsComingBackAsync(CancellationToken cancel)
    {
        try
        {
            return await FindVmAsync(cancel) is { } row && OpenConsole.IsComing(row.State);
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException)
        {
            // Whoever opens it again is told.
            return true;
        }
    }

    async Task TypeAsync(CancellationToken cancel)
    {
        var buffer = new byte[StreamLimits.ChunkBytes];
        while (true)
        {
            var got = await socket.ReceiveAsync(buffer.AsMemory(), CancellationToken.None).AsTask().WaitAsync(cancel);
            if (got.MessageType == WebSocketMessageType.Close) return;
            if (kind == ViewKind.Console || (got.Count > 0 && buffer[0] >= FirstOfPerson)) Use();
            if (got.Count > 0) await console.WriteAsync(buffer.AsMemory(0, got.Count), cancel);
        }
    }

    async Task WatchAsync(CancellationToken cancel)
    {
        var checkedAt = time.GetTimestamp();
        while (true)
        {
            try
            {
                if (await FindEndAsync(cancel) is { } why)
                {
                    reason = why;
                    return;
                }
                checkedAt = time.GetTimestamp();
            }
            catch (Exception error) when (error is NpgsqlException or TimeoutException)
            {
                // A failover takes a moment. But nobody may type for long who can no longer be checked.
                if (time.GetElapsedTime(checkedAt) > UncheckedLimit)
                    throw new IOException("The database does not respond.", error);
            }
            await Task.Delay(CheckEvery, time, cancel);
        }
    }

    /// <summary>Why it must end now; null if it need not.</summary>
    async Task<string?> FindEndAsync(CancellationToken cancel)
    {
        if (time.GetElapsedTime(Interlocked.Read(ref lastUsed)) > Idle) return "Nothing happened for half an hour.";
        if (hasSession && !await sessions.IsLiveAsync(context, cancel)) return "You have signed out.";
        return await FindVmAsync(cancel) is null or { Deleted: not null } ? "This capsul was deleted." : null;
    }

    Task<VmRow?> FindVmAsync(CancellationToken cancel) =>
        db.FindAsync<VmRow>(VmSql.Find, new { id = vm.Id, email = vm.Email }, cancel);
}
