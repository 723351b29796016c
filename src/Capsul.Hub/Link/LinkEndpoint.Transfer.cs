using Capsul.Wire;
using Grpc.Core;

namespace Capsul.Hub.Link;

/// <summary>Disks on their way from one host to another.</summary>
public sealed partial class LinkEndpoint
{
    public override async Task Transfer(IAsyncStreamReader<TransferMessage> requestStream,
        IServerStreamWriter<TransferMessage> responseStream, ServerCallContext context)
    {
        var caller = await authentication.RunAsync(context);
        var epoch = seat.Epoch;
        if (epoch == 0) throw await StandbyAsync(context);
        if (!caller.IsKnown || caller.IsRebuilding)
            throw new RpcException(new Status(StatusCode.PermissionDenied, "The database is being rebuilt."));
        try
        {
            await transfers.RunAsync(caller.Host, epoch, requestStream, responseStream, context.CancellationToken);
        }
        catch (Exception error) when (error is OperationCanceledException or IOException or TimeoutException)
        {
            throw new RpcException(new Status(StatusCode.Aborted, $"The transfer broke off: {error.Message}"));
        }
    }
}
