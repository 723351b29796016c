using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Vms;

/// <summary>
/// The other end of <see cref="RelayProcess"/>: runs the relays of one data folder, reaches the VMs through the
/// sandbox's network, and ends when the sandbox does. Only root can connect to its socket.
/// </summary>
public sealed class RelayServer(Settings settings, ILogger log)
{
    static readonly TimeSpan SandboxPoll = TimeSpan.FromSeconds(1),
        RequestLimit = TimeSpan.FromSeconds(5), DialLimit = TimeSpan.FromSeconds(10);
    /// <summary>Room for all ports of a VM, each with the networks of all its rules.</summary>
    const int MaxRequestChars = 128 << 10, Version = 2;

    internal static string SocketFile(Settings settings) => Path.Combine(Sandbox.RunFolder(settings), "relay.sock");

    static string PidFile(Settings settings) => SocketFile(settings) + ".pid";

    internal static byte[] ToLine<T>(T value) => [.. JsonSerializer.SerializeToUtf8Bytes(value), (byte)'\n'];

    /// <summary>Starts this program as the relay process, detached, in its own session.</summary>
    internal static async Task StartDetachedAsync(Settings settings, CancellationToken cancel)
    {
        // Only what it needs; the rest of this process's environment may be secret.
        var environment = Environment.GetEnvironmentVariables().Keys.Cast<string>()
            .Where(n => n.StartsWith("CAPSUL_", StringComparison.Ordinal))
            .ToDictionary(n => n, _ => (string?)null, StringComparer.Ordinal);
        environment["CAPSUL_DATA"] = settings.Data;
        environment["CAPSUL_RELAY_ADDRESS"] = settings.RelayAddress.ToString();
        environment["CAPSUL_RELAY_PORTS"] = $"{settings.RelayPorts.First}-{settings.RelayPorts.Last}";
        environment["CAPSUL_SSH_HOST"] = settings.SshHost;
        // A leftover PID may belong to another process by now.
        File.Delete(PidFile(settings));
        var program = Path.Combine(AppContext.BaseDirectory, "capsul");
        await new Command("start-stop-daemon", "--start", "--background",
            "--pidfile", PidFile(settings), "--make-pidfile",
            "--startas", program, "--", "spoke", "relay")
        { Environment = environment, Timeout = RequestLimit }.RunAsync(cancel);
    }

    /// <summary>Ends the relay process, so that its ports are free for the next one; quick if there is none.</summary>
    internal static async Task StopAsync(Settings settings, TimeProvider time, CancellationToken cancel)
    {
        if (!File.Exists(PidFile(settings))
            || !int.TryParse(await File.ReadAllTextAsync(PidFile(settings), cancel), out var pid))
            return;
        if (!IsRelay(pid)) return;
        await new Command("kill", "-KILL", pid.ToString()) { Timeout = RequestLimit }.TryRunAsync(cancel);
        for (var i = 0; IsRelay(pid) && i < 250; i++) await Task.Delay(TimeSpan.FromMilliseconds(20), time, cancel);
    }

    /// <summary>The PID may belong to another process by now.</summary>
    static bool IsRelay(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Contains("spoke\0relay", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }

    /// <summary>Runs until the sandbox ends or the caller cancels.</summary>
    public async Task RunAsync(CancellationToken cancel)
    {
        using var sandbox = Sandbox.Attach(settings)
            ?? throw new ProblemException(ProblemKind.Unavailable, $"There is no running sandbox for {settings.Data}.");
        await using var relays =
            new Relays(settings, (address, port, stop) => DialAsync(sandbox, address, port, stop),
                (address, port, _) => sandbox.DialUdpAsync(address, port), log);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        File.Delete(SocketFile(settings));
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(SocketFile(settings)));
        File.SetUnixFileMode(SocketFile(settings), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        listener.Listen();
        var serving = ServeAsync(listener, relays, stop.Token);
        // This process outlives the Spoke, and so does what it keeps.
        var keeping = new WayOut(sandbox, TimeProvider.System, log).KeepAsync(stop.Token);
        while (!serving.IsCompleted && sandbox.IsAlive)
            await Task.WhenAny(serving, Task.Delay(SandboxPoll, stop.Token));
        await stop.CancelAsync();
        await keeping.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    async Task ServeAsync(Socket listener, Relays relays, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            using var client = await listener.AcceptAsync(cancel);
            try
            {
                await AnswerAsync(client, relays, cancel);
            }
            catch (Exception error) when (error is IOException or SocketException or JsonException
                || (error is OperationCanceledException && !cancel.IsCancellationRequested))
            {
                // The Spoke disconnected in the middle of its request; it will retry.
            }
        }
    }

    static async Task AnswerAsync(Socket client, Relays relays, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(RequestLimit);
        await using var stream = new NetworkStream(client);
        using var reader = new StreamReader(stream, Encoding.UTF8, false, leaveOpen: true);
        if (await reader.ReadLineAsync(limit.Token) is not { Length: <= MaxRequestChars } line) return;
        var reply = await DoAsync(JsonSerializer.Deserialize<RelayRequest>(line)!, relays, limit.Token);
        await stream.WriteAsync(ToLine(reply), limit.Token);
    }

    static async Task<RelayReply> DoAsync(RelayRequest request, Relays relays, CancellationToken cancel)
    {
        try
        {
            if (request.Close is { } closed) await relays.CloseAsync(closed, cancel);
            var inUse = request.Forward is { } vm ? await relays.ForwardAsync(
                vm, request.Ports ?? [], IPAddress.Parse(request.Target), cancel) : [];
            return new RelayReply(
                request.Open is { } id ? await relays.OpenAsync(
                    id, request.Preferred, IPAddress.Parse(request.Target), cancel) : 0, null, Version, inUse);
        }
        catch (Exception error) when (error is HypervisorException or FormatException or SocketException)
        {
            return new RelayReply(0, error.Message);
        }
    }

    static async Task<Stream> DialAsync(Sandbox sandbox, IPAddress address, int port, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(DialLimit);
        var socket = await sandbox.OpenSocketAsync();
        try
        {
            socket.NoDelay = true;
            Sandbox.Mark(socket);
            await socket.ConnectAsync(address, port, limit.Token);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
