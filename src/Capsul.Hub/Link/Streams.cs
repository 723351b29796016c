using System.Collections.Concurrent;
using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Features.Consoles;
using Capsul.Hub.Features.Ports;
using Capsul.Hub.Features.Vms;
using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>
/// Streams between somebody at this Hub and something on a host. Hosts dial only the Hub, so a stream is asked for over
/// the host's connection, and the Spoke opens it. Who asked waits for it; nothing of it outlives this process.
/// </summary>
public sealed class Streams(TimeProvider time) : IHostConsoles, IHostPorts, IHostAgents
{
    static readonly TimeSpan OpenLimit = TimeSpan.FromSeconds(15), HelloLimit = TimeSpan.FromSeconds(10),
        AgentLimit = TimeSpan.FromSeconds(40);

    const int IdBytes = 16;

    /// <summary>Connections to ports at a time: of one VM, and of all VMs of a host.</summary>
    const int MaxOfVm = 128, MaxOfHost = 1024;

    readonly Places<(string Host, string Vm)> ofVms = new(MaxOfVm);
    readonly Places<string> ofHosts = new(MaxOfHost);

    /// <param name="Ask">How to ask the Spoke; null: it is too old for streams.</param>
    /// <param name="Ports">It opens streams to ports of VMs.</param>
    /// <param name="Keys">It can have keys changed.</param>
    /// <param name="Screens">It opens streams to screens of VMs.</param>
    sealed record Line(Func<OpenStream, bool>? Ask, bool Ports, bool Keys, bool Screens)
    {
        public bool CanOpen(StreamKind kind) => Ask is not null && kind switch
        {
            StreamKind.Port => Ports,
            StreamKind.Keys => Keys,
            StreamKind.Screen => Screens,
            _ => true,
        };
    }

    /// <summary>Each connected host.</summary>
    readonly ConcurrentDictionary<string, Line> hosts = new(StringComparer.Ordinal);
    readonly ConcurrentDictionary<string, Awaited> awaited = new(StringComparer.Ordinal);

    sealed record Awaited(string Host, TaskCompletionSource<HostStream> Came);

    /// <summary>A host is connected until the result is disposed.</summary>
    public IDisposable Connect(string host, Func<OpenStream, bool>? ask, bool ports = false, bool keys = false,
        bool screens = false)
    {
        var mine = KeyValuePair.Create(host, new Line(ask, ports, keys, screens));
        hosts[host] = mine.Value;
        return new Disconnection(() => hosts.TryRemove(mine));
    }

    public async Task<Outcome<IHostConsole>> OpenAsync(
        string host, string vm, ViewKind kind, CancellationToken cancel)
    {
        var asked = new OpenStream
        {
            Vm = vm,
            Kind = kind == ViewKind.Screen ? StreamKind.Screen : StreamKind.Console,
        };
        return (await OpenAsync(host, asked, cancel)).Refused(out var problem, out var stream) ? problem : stream;
    }

    public async Task<Outcome<IHostPort>> ConnectAsync(string host, string vm, int port, CancellationToken cancel)
    {
        var (ofVm, ofHost) = (ofVms.TryTake((host, vm)), ofHosts.TryTake(host));
        HostStream? opened = null;
        try
        {
            if (ofVm is null) return Unavailable($"{vm} has too many connections.");
            if (ofHost is null) return Unavailable($"The VMs of {host} have too many connections.");
            if ((await OpenAsync(host, new OpenStream { Vm = vm, Kind = StreamKind.Port, Port = port }, cancel))
                .Refused(out var problem, out var stream)) return problem;
            opened = stream;
            return new HostPort(stream);
        }
        finally
        {
            _ = FreeAsync(opened?.Ended ?? Task.CompletedTask);
        }

        async Task FreeAsync(Task ended)
        {
            await ended;
            ofVm?.Dispose();
            ofHost?.Dispose();
        }
    }

    public Task<Problem?> SetPasswordAsync(
        string host, string vm, string user, string password, CancellationToken cancel) => AskAgentAsync(host,
        new OpenStream { Vm = vm, Kind = StreamKind.Password, LoginUser = user, Password = password },
        "the password was set", cancel);

    public Task<Problem?> SetKeysAsync(
        string host, string vm, string user, IReadOnlyList<string> keys, CancellationToken cancel) => AskAgentAsync(
        host, new OpenStream { Vm = vm, Kind = StreamKind.Keys, LoginUser = user, SshKeys = { keys } },
        "the keys were changed", cancel);

    async Task<Problem?> AskAgentAsync(string host, OpenStream asked, string what, CancellationToken cancel)
    {
        if ((await OpenAsync(host, asked, cancel)).Refused(out var problem, out var stream)) return problem;
        await using var opened = stream;
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(AgentLimit);
            if (await stream.ReadAsync(limit.Token) is null && stream.HasEnded)
                return stream.Problem.Length > 0 ? new Problem(ProblemKind.Conflict, stream.Problem) : null;
        }
        catch (Exception error) when (error is IOException or OperationCanceledException
            && !cancel.IsCancellationRequested)
        {
            // As below.
        }
        return Unavailable($"{host} did not say whether {what}.");
    }

    async Task<Outcome<HostStream>> OpenAsync(string host, OpenStream asked, CancellationToken cancel)
    {
        if (!hosts.TryGetValue(host, out var line)) return Unavailable($"{host} is not connected to this Hub.");
        if (line.Ask is not { } ask || !line.CanOpen(asked.Kind))
            return Unavailable($"The Spoke of {host} is too old for this; upgrade it.");
        var id = asked.Id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(IdBytes));
        var came = new TaskCompletionSource<HostStream>(TaskCreationOptions.RunContinuationsAsynchronously);
        awaited[id] = new Awaited(host, came);
        var taken = false;
        try
        {
            if (!ask(asked)) return Unavailable($"{host} is too busy.");
            var stream = await came.Task.WaitAsync(OpenLimit, time, cancel);
            taken = true;
            return stream;
        }
        catch (TimeoutException)
        {
            return Unavailable($"{host} did not answer within {OpenLimit.TotalSeconds:0} s.");
        }
        finally
        {
            awaited.TryRemove(id, out _);
            // It may have come at the last moment: then nobody takes it.
            if (!taken && !came.TrySetCanceled(CancellationToken.None)) await (await came.Task).DisposeAsync();
        }
    }

    static Problem Unavailable(string sentence) => new(ProblemKind.Unavailable, sentence);

    /// <summary>Carries a stream that a Spoke has opened to its end.</summary>
    /// <exception cref="RpcException">Nobody waits for it, or not from this host.</exception>
    public async Task RunAsync(string host, IAsyncStreamReader<StreamMessage> up,
        IServerStreamWriter<StreamMessage> down, CancellationToken call)
    {
        var id = await ReadHelloAsync(up, call);
        if (!awaited.TryGetValue(id, out var asked) || asked.Host != host)
            throw new RpcException(new Status(StatusCode.NotFound, "Nobody waits for this stream."));
        var stream = new HostStream(up, down);
        if (!asked.Came.TrySetResult(stream))
            throw new RpcException(new Status(StatusCode.NotFound, "Nobody waits for this stream any more."));
        await stream.Ended.WaitAsync(call);
    }

    async Task<string> ReadHelloAsync(IAsyncStreamReader<StreamMessage> up, CancellationToken call)
    {
        try
        {
            if (await up.MoveNext(call).WaitAsync(HelloLimit, time, call) && up.Current.Hello is { } hello)
                return hello.Id;
        }
        catch (TimeoutException)
        {
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, "The Spoke did not say hello in time."));
        }
        throw new RpcException(new Status(StatusCode.InvalidArgument, "The first message must be a hello."));
    }

    sealed class Disconnection(Action end) : IDisposable
    {
        public void Dispose() => end();
    }
}
