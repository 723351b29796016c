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
/// <param name="log">Where failures are noted.</param>
/// <param name="stopping">Ends all streams.</param>
sealed partial class HubStreams(
    Identity identity, Func<string> address, IHypervisor hypervisor, Consoles consoles, ILogger log,
    CancellationToken stopping)
{
    static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(10);

    /// <summary>More than a Hub asks a host for.</summary>
    const int MaxOpen = 512;

    int open;

    /// <summary>Begins a stream and returns.</summary>
    public void Begin(OpenStream asked)
    {
        if (!IsSound(asked))
        {
            Log.Unsound(log);
            return;
        }
        if (Interlocked.Increment(ref open) <= MaxOpen) _ = RunAsync(asked);
        else Interlocked.Decrement(ref open);
    }

    static bool IsSound(OpenStream asked) => Formats.IsTransferId(asked.Id) && Formats.IsVmId(asked.Vm)
        && asked.Kind switch
        {
            StreamKind.Console => true,
            StreamKind.Password => Formats.IsLoginUser(asked.LoginUser) && StreamLimits.IsPassword(asked.Password),
            _ => false,
        };

    async Task RunAsync(OpenStream asked)
    {
        try
        {
            using var channel = identity.OpenAt(address(), ConnectLimit);
            using var call = new HubLink.HubLinkClient(channel).Stream(cancellationToken: stopping);
            await call.RequestStream.WriteAsync(
                new StreamMessage { Hello = new StreamHello { Id = asked.Id } }, stopping);
            if (asked.Kind == StreamKind.Password) await SetPasswordAsync(asked, call);
            else await CarryAsync(asked, call, stopping);
        }
        catch (Exception error) when (error is RpcException or IOException or OperationCanceledException
            or InvalidOperationException)
        {
            // The Hub has gone, or nobody waits for it any more.
            Log.Ended(log, asked.Vm, error.Message);
        }
        catch (Exception error)
        {
            // A bug. One stream's failure must not affect anything else.
            Log.Threw(log, asked.Vm, error);
        }
        finally
        {
            Interlocked.Decrement(ref open);
        }
    }

    async Task CarryAsync(
        OpenStream asked, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, CancellationToken cancel)
    {
        try
        {
            await using var view = await consoles.WatchAsync(asked.Vm, cancel);
            using var showing = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            // Canceling a read would end the whole call: what is typed is read until the Hub ends it.
            var typing = TypeAsync(view, call, cancel);
            var shown = ShowAsync(view, call, showing.Token);
            if (await Task.WhenAny(typing, shown) == shown)
            {
                await shown;
                await EndAsync(call, "It was turned off.");
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

    async Task SetPasswordAsync(OpenStream asked, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call)
    {
        var problem = "";
        try
        {
            await hypervisor.SetPasswordAsync(asked.Vm, asked.LoginUser, asked.Password, stopping);
        }
        catch (HypervisorException error)
        {
            problem = error.Message;
        }
        await EndAsync(call, problem);
        while (await call.ResponseStream.MoveNext(stopping)) { }
    }

    static async Task EndAsync(AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, string problem)
    {
        await call.RequestStream.WriteAsync(new StreamMessage { End = new StreamEnd { Problem = problem } });
        await call.RequestStream.CompleteAsync();
    }

    static async Task ShowAsync(
        ConsoleView view, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, CancellationToken cancel)
    {
        await foreach (var part in view.Output.ReadAllAsync(cancel))
            await call.RequestStream.WriteAsync(
                new StreamMessage { Data = UnsafeByteOperations.UnsafeWrap(part) }, CancellationToken.None);
    }

    static async Task TypeAsync(
        ConsoleView view, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call, CancellationToken cancel)
    {
        while (await call.ResponseStream.MoveNext(cancel))
            await view.TypeAsync(call.ResponseStream.Current.Data.Memory, cancel);
    }

    static partial class Log
    {
        [LoggerMessage(440, LogLevel.Debug, "The console of {Vm} is no longer watched: {Why}")]
        public static partial void Ended(ILogger log, string vm, string why);

        [LoggerMessage(441, LogLevel.Error, "A stream to {Vm} failed")]
        public static partial void Threw(ILogger log, string vm, Exception error);

        [LoggerMessage(442, LogLevel.Error, "The Hub asked for a stream that this Spoke does not know")]
        public static partial void Unsound(ILogger log);
    }
}
