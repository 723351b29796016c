using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;

namespace Capsul.Spoke.Link;

/// <summary>
/// Disks on their way from and to other hosts, through the Hub. Each transfer has a connection of its own, so that a
/// full one does not delay heartbeats.
/// </summary>
/// <param name="identity">Who this Spoke is.</param>
/// <param name="address">Where the active Hub is, as far as it is known.</param>
/// <param name="time">The clock.</param>
sealed class HubTransfers(Identity identity, Func<string> address, TimeProvider time) : ITransfers
{
    static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(10), IdleLimit = TimeSpan.FromSeconds(90);

    public Task SendAsync(string id, DiskExport disk, CancellationToken cancel) =>
        CallAsync(id, Direction.Send, async call =>
        {
            await ReadAsync(call, cancel);
            if (call.ResponseStream.Current.Ready is null) throw new TransferException("The Hub does not answer.");
            var up = call.RequestStream;
            await up.WriteAsync(new TransferMessage { Header = disk.Header }, cancel);
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await foreach (var part in disk.ReadAsync(cancel).WithCancellation(cancel))
            {
                hash.AppendData(part.Span);
                await up.WriteAsync(new TransferMessage { Data = UnsafeByteOperations.UnsafeWrap(part) }, cancel)
                    .WaitAsync(IdleLimit, time, cancel);
            }
            var end = new TransferEnd { Sha256 = Convert.ToHexStringLower(hash.GetHashAndReset()) };
            await up.WriteAsync(new TransferMessage { End = end }, cancel);
            await up.CompleteAsync();
            while (await call.ResponseStream.MoveNext(cancel)) { }
            return "";
        }, cancel);

    public Task<string> ReceiveAsync(
        string id, Func<IncomingDisk, Task<string>> import, CancellationToken cancel) =>
        CallAsync(id, Direction.Receive, async call =>
        {
            await ReadAsync(call, cancel);
            await ReadAsync(call, cancel);
            if (call.ResponseStream.Current.Header is not { } header)
                throw new TransferException("The other host sent no header.");
            var sum = "";
            return await import(new IncomingDisk(header, ContentAsync(call, s => sum = s, cancel), () => sum));
        }, cancel);

    async IAsyncEnumerable<ReadOnlyMemory<byte>> ContentAsync(
        AsyncDuplexStreamingCall<TransferMessage, TransferMessage> call, Action<string> end,
        [EnumeratorCancellation] CancellationToken cancel)
    {
        while (true)
        {
            await ReadAsync(call, cancel);
            var message = call.ResponseStream.Current;
            if (message.End is { } last)
            {
                end(last.Sha256);
                yield break;
            }
            if (message.Data.IsEmpty) throw new TransferException("The other host sent no data.");
            yield return message.Data.Memory;
        }
    }

    /// <summary>The next message.</summary>
    async Task ReadAsync(AsyncDuplexStreamingCall<TransferMessage, TransferMessage> call, CancellationToken cancel)
    {
        try
        {
            if (!await call.ResponseStream.MoveNext(cancel).WaitAsync(IdleLimit, time, cancel))
                throw new TransferException("The transfer ended early.");
        }
        catch (Exception error) when (error is RpcException or IOException or TimeoutException)
        {
            throw Broken(error);
        }
    }

    async Task<string> CallAsync(string id, Direction direction,
        Func<AsyncDuplexStreamingCall<TransferMessage, TransferMessage>, Task<string>> work, CancellationToken cancel)
    {
        try
        {
            using var channel = identity.OpenAt(address(), ConnectLimit);
            using var call = new HubLink.HubLinkClient(channel).Transfer(cancellationToken: cancel);
            await call.RequestStream.WriteAsync(
                new TransferMessage { Hello = new TransferHello { Id = id, Direction = direction } }, cancel);
            return await work(call);
        }
        catch (Exception error) when (error is RpcException or TimeoutException or InvalidOperationException)
        {
            throw Broken(error);
        }
    }

    static TransferException Broken(Exception error) => new(
        error is RpcException { Status.Detail.Length: > 0 } refused ? refused.Status.Detail : error.Message, error);
}
