using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>Streams that somebody at this Hub has asked for.</summary>
public sealed partial class LinkEndpoint
{
    public override async Task Stream(IAsyncStreamReader<StreamMessage> requestStream,
        IServerStreamWriter<StreamMessage> responseStream, ServerCallContext context)
    {
        var caller = await authentication.RunAsync(context);
        try
        {
            await streams.RunAsync(caller.Host, requestStream, responseStream, context.CancellationToken);
        }
        catch (Exception error) when (error is OperationCanceledException or IOException)
        {
            throw new RpcException(new Status(StatusCode.Aborted, $"The stream broke off: {error.Message}"));
        }
    }
}
