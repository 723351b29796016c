using Capsul.Hub.Features.Consoles;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>The Hub's end of a stream. Its call ends when it is disposed.</summary>
sealed class HostStream(IAsyncStreamReader<StreamMessage> up, IServerStreamWriter<StreamMessage> down) : IHostConsole
{
    readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completed when it is disposed.</summary>
    public Task Ended => ended.Task;

    public string Problem { get; private set; } = "";

    /// <summary>The Spoke has said how it ended.</summary>
    public bool HasEnded { get; private set; }

    public async Task<ReadOnlyMemory<byte>?> ReadAsync(CancellationToken cancel)
    {
        try
        {
            if (!await up.MoveNext(cancel)) return null;
            var message = Intake.Check(up.Current);
            if (message.BodyCase == StreamMessage.BodyOneofCase.Data) return message.Data.Memory;
            (Problem, HasEnded) = (message.End.Problem, true);
            return null;
        }
        catch (Exception error) when (error is RpcException or InvalidOperationException)
        {
            throw new IOException(error.Message, error);
        }
    }

    public async Task WriteAsync(ReadOnlyMemory<byte> keys, CancellationToken cancel)
    {
        try
        {
            await down.WriteAsync(new StreamMessage { Data = ByteString.CopyFrom(keys.Span) }, cancel);
        }
        catch (Exception error) when (error is RpcException or InvalidOperationException)
        {
            throw new IOException(error.Message, error);
        }
    }

    public ValueTask DisposeAsync()
    {
        ended.TrySetResult();
        return ValueTask.CompletedTask;
    }
}
