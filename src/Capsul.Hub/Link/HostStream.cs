using Capsul.Foundation;
using Capsul.Hub.Features.Consoles;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>
/// The Hub's end of a stream. Its call ends when it is disposed, or when a read or a write is canceled.
/// </summary>
sealed class HostStream(
    IAsyncStreamReader<StreamMessage> up, IServerStreamWriter<StreamMessage> down) : IHostConsole
{
    readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>
    /// What gRPC is canceled by. It aborts the call in the callback, and throws there if the call is just ending: at
    /// whoever cancels, were it the caller's token.
    /// </summary>
    readonly CancellationTokenSource abort = new();

    /// <summary>Completed when it is disposed.</summary>
    public Task Ended => ended.Task;

    public string Problem { get; private set; } = "";

    /// <summary>The Spoke has said how it ended.</summary>
    public bool HasEnded { get; private set; }

    public async Task<ReadOnlyMemory<byte>?> ReadAsync(CancellationToken cancel)
    {
        using var canceled = AbortOn(cancel);
        try
        {
            if (!await up.MoveNext(abort.Token)) return null;
            var message = Intake.Check(up.Current);
            if (message.BodyCase == StreamMessage.BodyOneofCase.Data) return message.Data.Memory;
            if (message.BodyCase == StreamMessage.BodyOneofCase.Finished) return ReadOnlyMemory<byte>.Empty;
            (Problem, HasEnded) = (message.End.Problem, true);
            return null;
        }
        catch (Exception error) when (error is RpcException or InvalidOperationException)
        {
            throw new IOException(error.Message, error);
        }
    }

    public Task WriteAsync(ReadOnlyMemory<byte> keys, CancellationToken cancel) =>
        WriteAsync(new StreamMessage { Data = ByteString.CopyFrom(keys.Span) }, cancel);

    /// <summary>No more data is written.</summary>
    public Task FinishAsync(CancellationToken cancel) =>
        WriteAsync(new StreamMessage { Finished = new StreamFinished() }, cancel);

    async Task WriteAsync(StreamMessage message, CancellationToken cancel)
    {
        using var canceled = AbortOn(cancel);
        try
        {
            await down.WriteAsync(message, abort.Token);
        }
        catch (Exception error) when (error is RpcException or InvalidOperationException)
        {
            throw new IOException(error.Message, error);
        }
    }

    CancellationTokenRegistration AbortOn(CancellationToken cancel) =>
        cancel.UnsafeRegister(static source => _ = ((CancellationTokenSource)source!).CancelQuietlyAsync(), abort);

    public void End() => ended.TrySetResult();

    public ValueTask DisposeAsync()
    {
        End();
        return ValueTask.CompletedTask;
    }
}
