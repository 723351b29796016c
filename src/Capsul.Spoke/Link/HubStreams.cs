using System.Collections.Concurrent;
using System.Net;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Link;

/// <summary>
/// Streams that the Hub asks for. Each has a connection of its own, so that a full one does not delay heartbeats, and
/// ends when either side ends it.
/// </summary>
/// <param name="identity">Who this Spoke is.</param>
/// <param name="address">Where the active Hub is, as far as it is known.</param>
/// <param name="hypervisor">The VMs.</param>
/// <param name="consoles">Their consoles.</param>
/// <param name="screens">Their screens.</param>
/// <param name="addressOf">Where a VM is reached; null: it is not on.</param>
/// <param name="log">Where failures are noted.</param>
/// <param name="stopping">Ends all streams.</param>
sealed partial class HubStreams(
    Identity identity, Func<string> address, IHypervisor hypervisor, Consoles consoles, Screens screens,
    Func<string, IPAddress?> addressOf, ILogger log, CancellationToken stopping)
{
    static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(10);

    /// <summary>More than a Hub has consoles; those to ports leave some to these and to agents.</summary>
    const int MaxOpen = 4096, MaxOpenToPorts = 3072;

    const int MaxKeys = 100;

    /// <summary>VMs whose agents are being asked: a guest can let each call wait for its time limit.</summary>
    readonly ConcurrentDictionary<string, bool> asked = new(StringComparer.Ordinal);

    int open;

    /// <summary>Begins a stream and returns.</summary>
    public void Begin(OpenStream wanted)
    {
        if (!IsSound(wanted))
        {
            Log.Unsound(log);
            return;
        }
        var most = wanted.Kind == StreamKind.Port ? MaxOpenToPorts : MaxOpen;
        if (Interlocked.Increment(ref open) <= most) _ = RunAsync(wanted);
        else Interlocked.Decrement(ref open);
    }

    static bool IsSound(OpenStream wanted) => Formats.IsTransferId(wanted.Id) && Formats.IsVmId(wanted.Vm)
        && wanted.Kind switch
        {
            StreamKind.Console or StreamKind.Screen => true,
            StreamKind.Keys => Formats.IsLoginUser(wanted.LoginUser) && wanted.SshKeys.Count is > 0 and <= MaxKeys
                && wanted.SshKeys.All(Formats.IsKeyLine),
            StreamKind.Port => wanted.Port is >= 1 and <= 65535,
            StreamKind.Password => Formats.IsLoginUser(wanted.LoginUser) && StreamLimits.IsPassword(wanted.Password),
            _ => false,
        };

    async Task RunAsync(OpenStream wanted)
    {
        try
        {
            using var channel = identity.OpenAt(address(), ConnectLimit);
            using var call = new HubLink.HubLinkClient(channel).Stream(cancellationToken: stopping);
            await call.RequestStream.WriteAsync(
                new StreamMessage { Hello = new StreamHello { Id = wanted.Id } }, stopping);
            if (wanted.Kind is StreamKind.Password or StreamKind.Keys) await AskAgentAsync(wanted, call);
            else if (wanted.Kind == StreamKind.Port) await ConnectAsync(wanted, call);
            else await CarryAsync(wanted, call, stopping);
        }
        catch (Exception error) when (error is RpcException or IOException or OperationCanceledException
            or InvalidOperationException)
        {
            // The Hub has gone, or nobody waits for it any more.
            Log.Ended(log, wanted.Vm, error.Message);
        }
        catch (Exception error)
        {
            // A bug. One stream's failure must not affect anything else.
            Log.Threw(log, wanted.Vm, error);
        }
        finally
        {
            Interlocked.Decrement(ref open);
        }
    }

    async Task CarryAsync(
        OpenStream wanted, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, CancellationToken cancel)
    {
        try
        {
            await using IGuestView view = wanted.Kind == StreamKind.Screen
                ? await screens.OpenAsync(wanted.Vm, cancel) : await consoles.WatchAsync(wanted.Vm, cancel);
            using var showing = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            // Canceling a read would end the whole call: what is typed is read until the Hub ends it.
            var typing = TypeAsync(view, call, cancel);
            var shown = ShowAsync(view, call, showing.Token);
            if (await Task.WhenAny(typing, shown) == shown)
            {
                await shown;
                await EndAsync(call, view.WhenEnded);
            }
            await showing.CancelAsync();
            await shown.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await typing;
        }
        catch (HypervisorException error)
        {
            await EndAsync(call, error.Message);
            while (await call.ResponseStream.MoveNext(cancel)) { }
        }
    }

    async Task AskAgentAsync(OpenStream wanted, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call)
    {
        await EndAsync(call, await TryAskAgentAsync(wanted));
        while (await call.ResponseStream.MoveNext(stopping)) { }
    }

    /// <summary>What went wrong, or nothing.</summary>
    async Task<string> TryAskAgentAsync(OpenStream wanted)
    {
        if (!asked.TryAdd(wanted.Vm, true)) return "Its agent is being asked already. Wait a moment.";
        try
        {
            await (wanted.Kind == StreamKind.Password
                ? hypervisor.SetPasswordAsync(wanted.Vm, wanted.LoginUser, wanted.Password, stopping)
                : hypervisor.SetKeysAsync(wanted.Vm, wanted.LoginUser, [.. wanted.SshKeys], stopping));
            return "";
        }
        catch (HypervisorException error)
        {
            return error.Message;
        }
        finally
        {
            asked.TryRemove(wanted.Vm, out _);
        }
    }

    static async Task EndAsync(AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, string problem)
    {
        await call.RequestStream.WriteAsync(new StreamMessage { End = new StreamEnd { Problem = problem } });
        await call.RequestStream.CompleteAsync();
    }

    static async Task ShowAsync(
        IGuestView view, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, CancellationToken cancel)
    {
        await foreach (var part in view.ReadAsync(cancel))
            await call.RequestStream.WriteAsync(
                new StreamMessage { Data = UnsafeByteOperations.UnsafeWrap(part) }, CancellationToken.None);
    }

    static async Task TypeAsync(
        IGuestView view, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, CancellationToken cancel)
    {
        while (await call.ResponseStream.MoveNext(cancel))
            await view.TypeAsync(call.ResponseStream.Current.Data.Memory, cancel);
    }

    static partial class Log
    {
        [LoggerMessage(440, LogLevel.Debug, "A stream to {Vm} has ended: {Why}")]
        public static partial void Ended(ILogger log, string vm, string why);

        [LoggerMessage(441, LogLevel.Error, "A stream to {Vm} failed")]
        public static partial void Threw(ILogger log, string vm, Exception error);

        [LoggerMessage(442, LogLevel.Error, "The Hub asked for a stream that this Spoke does not know")]
        public static partial void Unsound(ILogger log);
    }
}
