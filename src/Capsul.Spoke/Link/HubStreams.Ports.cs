using System.Net.Sockets;
using Capsul.Spoke.Hypervisor;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;

namespace Capsul.Spoke.Link;

/// <summary>Streams to TCP ports of VMs.</summary>
sealed partial class HubStreams
{
    /// <summary>A little more than the Hub's limit, which ends it properly.</summary>
    static readonly TimeSpan IdleLimit = TimeSpan.FromMinutes(31);

    async Task ConnectAsync(OpenStream wanted, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call)
    {
        // Cancels reads of the call, too, and so ends it: at that point nobody needs it.
        using var idle = CancellationTokenSource.CreateLinkedTokenSource(stopping);
        idle.CancelAfter(IdleLimit);
        try
        {
            var vm = addressOf(wanted.Vm) ?? throw new HypervisorException("It is off.", final: true);
            await using var inside = await hypervisor.DialAsync(vm, wanted.Port, idle.Token);
            var receiving = ReceiveAsync(inside, call, idle);
            var sending = SendAsync(inside, call, idle);
            // If the Hub ends the call, nobody needs what the VM still sends.
            if (await Task.WhenAny(receiving, sending) == sending)
            {
                await sending;
                await EndAsync(call, "");
            }
            // Not before the Hub has ended the call: disposing it earlier drops what the Hub has not read yet.
            await receiving;
        }
        catch (Exception error) when (error is HypervisorException or IOException or SocketException)
        {
            await EndAsync(call, error.Message);
            while (await call.ResponseStream.MoveNext(idle.Token)) { }
        }
    }

    /// <summary>Until the Hub ends the call; it has no more data for the VM from "finished" on.</summary>
    static async Task ReceiveAsync(Stream inside, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call,
        CancellationTokenSource idle)
    {
        while (await call.ResponseStream.MoveNext(idle.Token))
        {
            idle.CancelAfter(IdleLimit);
            if (call.ResponseStream.Current.BodyCase != StreamMessage.BodyOneofCase.Finished)
                await inside.WriteAsync(call.ResponseStream.Current.Data.Memory, idle.Token);
            else if (inside is NetworkStream network) network.Socket.Shutdown(SocketShutdown.Send);
        }
    }

    /// <summary>One chunk at a time: while the Hub does not take it, the VM cannot send.</summary>
    static async Task SendAsync(Stream inside, AsyncDuplexStreamingCall<StreamMessage, StreamMessage> call,
        CancellationTokenSource idle)
    {
        var buffer = new byte[StreamLimits.ChunkBytes];
        while (await inside.ReadAsync(buffer, idle.Token) is > 0 and var count)
        {
            idle.CancelAfter(IdleLimit);
            await call.RequestStream.WriteAsync(
                new StreamMessage { Data = ByteString.CopyFrom(buffer, 0, count) }, idle.Token);
        }
        await call.RequestStream.WriteAsync(new StreamMessage { Finished = new StreamFinished() }, idle.Token);
    }
}
