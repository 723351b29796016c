using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>A request to the relay process: a line of JSON on its Unix socket; the reply is another line.</summary>
/// <param name="Open">The VM whose relay to open; null to close one.</param>
/// <param name="Close">The VM whose relay to close.</param>
/// <param name="Preferred">The port it had; 0: none.</param>
/// <param name="Target">The VM's address.</param>
/// <param name="Forward">The VM to which exactly these ports lead; null: nothing of that changes.</param>
/// <param name="Ports">The ports.</param>
sealed record RelayRequest(string? Open, string? Close, int Preferred = 0, string Target = "", string? Forward = null,
    IReadOnlyList<Forward>? Ports = null);

/// <param name="Port">The port on which it listens.</param>
/// <param name="Problem">Why it failed; null on success.</param>
/// <param name="Version">0: it knows nothing but SSH. 1: nothing but TCP.</param>
/// <param name="InUse">Ports that could not be opened.</param>
sealed record RelayReply(int Port, string? Problem, int Version = 0, IReadOnlyList<int>? InUse = null);

/// <summary>
/// Relays in a separate process (<c>capsul spoke relay</c>), which outlives the Spoke: a restart or an upgrade of the
/// Spoke does not cut anybody's SSH session. It is started when none responds, has no state but the open ports, and
/// ends with the sandbox.
/// </summary>
public sealed partial class RelayProcess(Settings settings, ILogger log) : IRelays
{
    static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(5),
        StartLimit = TimeSpan.FromSeconds(20), StartPoll = TimeSpan.FromMilliseconds(50);
    readonly SemaphoreSlim starting = new(1, 1);

    public string PublicName => settings.SshHost;

    public (int First, int Last)? ForwardPorts => settings.ForwardPorts;

    public async Task<int> OpenAsync(string id, int preferred, IPAddress target, CancellationToken cancel)
    {
        var reply = await AskAsync(new RelayRequest(id, null, preferred, target.ToString()), cancel);
        return reply.Problem is { } problem ? throw new HypervisorException(problem, final: false) : reply.Port;
    }

    public async Task<IReadOnlyList<int>> ForwardAsync(
        string id, IReadOnlyList<Forward> forwards, IPAddress target, CancellationToken cancel)
    {
        var request = new RelayRequest(null, null, Target: target.ToString(), Forward: id, Ports: forwards);
        var reply = await AskAsync(request, cancel);
        var needed = forwards.Any(f => f.IsUdp) ? 2 : forwards.Count > 0 ? 1 : 0;
        if (reply.Problem is null && reply.Version < needed)
        {
            // Of an earlier version of Capsul. Each VM has its relay again within a round.
            Log.Replacing(log);
            await RelayServer.StopAsync(settings, TimeProvider.System, cancel);
            reply = await AskAsync(request, cancel);
        }
        return reply.Problem is { } problem ? throw new HypervisorException(problem, final: false) : reply.InUse ?? [];
    }

    public async Task CloseAsync(string id, CancellationToken cancel)
    {
        if (await TryAskAsync(new RelayRequest(null, id), cancel) is { Problem: { } problem })
            throw new HypervisorException(problem, final: false);
    }

    /// <summary>The process keeps running.</summary>
    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    async Task<RelayReply> AskAsync(RelayRequest request, CancellationToken cancel)
    {
        if (await TryAskAsync(request, cancel) is { } reply) return reply;
        await StartAsync(cancel);
        return await TryAskAsync(request, cancel) ?? throw new HypervisorException(
            "The SSH relay process does not respond.", final: false);
    }

    /// <summary>Null when the process does not respond.</summary>
    async Task<RelayReply?> TryAskAsync(RelayRequest request, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(AnswerLimit);
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(RelayServer.SocketFile(settings)), limit.Token);
            await using var stream = new NetworkStream(socket);
            await stream.WriteAsync(RelayServer.ToLine(request), limit.Token);
            using var reader = new StreamReader(stream);
            return await reader.ReadLineAsync(limit.Token) is { } line
                ? JsonSerializer.Deserialize<RelayReply>(line)
                : null;
        }
        catch (Exception error) when (error is SocketException or IOException or JsonException
            || (error is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            return null;
        }
    }

    async Task StartAsync(CancellationToken cancel)
    {
        await starting.WaitAsync(cancel);
        try
        {
            if (await TryAskAsync(new RelayRequest(null, null), cancel) is not null) return;
            Log.Starting(log);
            await RelayServer.StartDetachedAsync(settings, cancel);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(StartLimit);
            while (await TryAskAsync(new RelayRequest(null, null), limit.Token) is null)
                await Task.Delay(StartPoll, limit.Token);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new HypervisorException("The SSH relay process did not start.", final: false);
        }
        catch (ProblemException error)
        {
            throw new HypervisorException($"The SSH relay process did not start: {error.Message}", final: false, error);
        }
        finally
        {
            starting.Release();
        }
    }

    static partial class Log
    {
        [LoggerMessage(402, LogLevel.Information, "Starting the SSH relay process")]
        public static partial void Starting(ILogger log);

        [LoggerMessage(403, LogLevel.Warning, "The SSH relay process is of an earlier version; replacing it")]
        public static partial void Replacing(ILogger log);
    }
}
