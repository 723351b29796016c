using System.Net;
using System.Net.WebSockets;
using Capsul.Foundation;
using Capsul.Hub.Features.Consoles;
using Capsul.Wire;
using Microsoft.Win32.SafeHandles;

namespace Capsul.Cli;

/// <summary>
/// <c>capsul vm console</c>: a VM's serial console in this terminal, through the Hub that runs on this machine.
/// </summary>
static class VmConsole
{
    /// <summary>Ctrl-], as in telnet and virsh.</summary>
    const byte Leave = 0x1d;

    static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(20);

    public static async Task<int> RunAsync(string vm, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel);
        var token = (await OpenConsole.AskAsync(
            database.Db, "cli", vm, ViewKind.Console, TimeProvider.System, cancel)).OrThrow();
        using var socket = new ClientWebSocket();
        await ConnectAsync(socket, settings, vm, token, cancel);
        await Console.Error.WriteLineAsync($"Connected to the console of {vm}. To leave it, press Ctrl-].");
        var before = await RawAsync(cancel);
        string reason;
        try
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            var shown = ShowAsync(socket, end.Token);
            var typed = TypeAsync(socket, end.Token);
            var first = await Task.WhenAny(shown, typed);
            await end.CancelAsync();
            await first;
            reason = first == shown ? await shown : "";
        }
        finally
        {
            if (before is not null) await SttyAsync(CancellationToken.None, before);
        }
        await Console.Error.WriteLineAsync();
        if (reason.Length > 0) throw new ProblemException(ProblemKind.Unavailable, reason);
        return 0;
    }

    static async Task ConnectAsync(
        ClientWebSocket socket, Settings settings, string vm, string token, CancellationToken cancel)
    {
        var host = settings.Listen.Equals(IPAddress.Any) ? IPAddress.Loopback
            : settings.Listen.Equals(IPAddress.IPv6Any) ? IPAddress.IPv6Loopback : settings.Listen;
        var address = new UriBuilder("ws", host.ToString(), settings.Port, $"/vms/{vm}/console/socket")
        { Query = $"token={token}" };
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(ConnectLimit);
        try
        {
            await socket.ConnectAsync(address.Uri, limit.Token);
        }
        catch (Exception error) when (error is WebSocketException or OperationCanceledException
            && !cancel.IsCancellationRequested)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"The Hub does not answer at {host}:{settings.Port}. Run this on the machine of the active Hub, with "
                + "its settings.", error.Message, error);
        }
    }

    /// <summary>Returns why the Hub has closed it.</summary>
    static async Task<string> ShowAsync(ClientWebSocket socket, CancellationToken cancel)
    {
        await using var screen = Console.OpenStandardOutput();
        var buffer = new byte[StreamLimits.ChunkBytes];
        try
        {
            while (true)
            {
                var got = await socket.ReceiveAsync(buffer.AsMemory(), cancel);
                if (got.MessageType == WebSocketMessageType.Close) return socket.CloseStatusDescription ?? "";
                await screen.WriteAsync(buffer.AsMemory(0, got.Count), cancel);
                await screen.FlushAsync(cancel);
            }
        }
        catch (WebSocketException error)
        {
            return $"The connection to the Hub was lost: {error.Message}";
        }
    }

    /// <summary>Ends with Ctrl-], or with the input.</summary>
    static async Task TypeAsync(ClientWebSocket socket, CancellationToken cancel)
    {
        // Not through Console, which would set the terminal up in its own way again.
        await using var keys = new FileStream(
            new SafeFileHandle(0, ownsHandle: false), FileAccess.Read, bufferSize: 0);
        var buffer = new byte[1024];
        while (await keys.ReadAsync(buffer, cancel) is > 0 and var count)
        {
            if (socket.State != WebSocketState.Open) return;
            var leave = Array.IndexOf(buffer, Leave, 0, count);
            var typed = buffer.AsMemory(0, leave >= 0 ? leave : count);
            await socket.SendAsync(typed, WebSocketMessageType.Binary, endOfMessage: true, cancel);
            if (leave >= 0) return;
        }
    }

    /// <summary>
    /// Passes on every key as it is, Ctrl-C too. Returns how to undo that; null if the input is not a terminal.
    /// </summary>
    static async Task<string?> RawAsync(CancellationToken cancel)
    {
        if (Console.IsInputRedirected) return null;
        var before = await SttyAsync(cancel, "-g");
        await SttyAsync(cancel, "raw", "-echo");
        return before;
    }

    static async Task<string> SttyAsync(CancellationToken cancel, params string[] arguments) =>
        (await new Command("stty", ["-F", "/dev/tty", .. arguments]).RunAsync(cancel)).Output.Trim();
}
