using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Link;

/// <summary>
/// Passes the disks of VMs that are moved from one host to another: hosts need not reach each other, and dial only the
/// Hub. Both ends name the transfer; the database says who may send and who may receive it, at the beginning and every
/// few seconds. Whoever comes first waits for the other. One message is on its way at a time, so the receiver's speed
/// is the sender's, and the Hub keeps nothing; sizes are those that the VM may have; an end that stands still is given
/// up. What arrives is checked by the receiving Spoke: nothing here trusts a sender.
/// </summary>
public sealed partial class Transfers(Db db, Seat seat, TimeProvider time, ILogger<Transfers> log)
{
    static readonly TimeSpan HelloLimit = TimeSpan.FromSeconds(10), IdleLimit = TimeSpan.FromSeconds(60),
        Patience = TimeSpan.FromMinutes(1), CheckEvery = TimeSpan.FromSeconds(5);

    readonly Lock gate = new();
    readonly Dictionary<string, Party> waiting = new(StringComparer.Ordinal);

    /// <summary>One end. Met: the other one is there. Over: the transfer has ended, and how.</summary>
    sealed record Party(string Host, Direction Direction, IAsyncStreamReader<TransferMessage> Up,
        IServerStreamWriter<TransferMessage> Down, CancellationToken Call)
    {
        public TaskCompletionSource<Party> Met { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource Over { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    /// <summary>Carries one end of a transfer to its end.</summary>
    /// <param name="host">Whose Spoke this is, authenticated.</param>
    /// <param name="epoch">The epoch under which it was accepted.</param>
    /// <param name="up">What it sends.</param>
    /// <param name="down">What it is sent.</param>
    /// <param name="call">Ends with the call.</param>
    /// <exception cref="RpcException">Refused, or the other end is not there, or broke off.</exception>
    public async Task RunAsync(string host, long epoch, IAsyncStreamReader<TransferMessage> up,
        IServerStreamWriter<TransferMessage> down, CancellationToken call)
    {
        var hello = await ReadHelloAsync(up, call);
        if (await FindAsync(hello, host, epoch, call) is not { } transfer)
            throw new RpcException(new Status(StatusCode.PermissionDenied,
                "There is no such transfer, or it is not of this host."));
        var party = new Party(host, hello.Direction, up, down, call);
        var other = await MeetAsync(hello.Id, party, call);
        if (party.Direction == Direction.Receive)
        {
            // The sender's call writes to this one's stream; it ends when either call does.
            await party.Over.Task;
            return;
        }
        try
        {
            await CarryAsync(hello, party, other, transfer.DiskGb, epoch);
            other.Over.SetResult();
        }
        catch (Exception error)
        {
            var broken = error as RpcException ?? new RpcException(new Status(StatusCode.Aborted,
                $"The transfer broke off: {error.Message}"));
            Log.Broken(log, party.Host, other.Host, broken.Status.Detail);
            other.Over.SetException(broken);
            throw broken;
        }
    }

    static async Task<TransferHello> ReadHelloAsync(IAsyncStreamReader<TransferMessage> up, CancellationToken call)
    {
        try
        {
            if (await up.MoveNext(call).WaitAsync(HelloLimit, call) && up.Current.Hello is { } hello)
                return Intake.Check(hello);
        }
        catch (TimeoutException)
        {
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, "The Spoke did not say hello in time."));
        }
        throw new RpcException(new Status(StatusCode.InvalidArgument, "The first message must be a hello."));
    }

    /// <summary>The transfer, if it is wanted now, and this host has this part in it.</summary>
    async Task<TransferRow?> FindAsync(TransferHello hello, string host, long epoch, CancellationToken cancel) =>
        seat.Epoch == epoch
        && await db.FindAsync<TransferRow>(MoveSql.FindTransfer, new { transfer = hello.Id }, cancel) is { } found
        && host == (hello.Direction == Direction.Send ? found.FromHost : found.ToHost) ? found : null;

    /// <summary>Waits for the other end. A newer call of the same end replaces one that waits.</summary>
    async Task<Party> MeetAsync(string id, Party party, CancellationToken call)
    {
        lock (gate)
        {
            if (waiting.TryGetValue(id, out var there) && there.Direction != party.Direction
                && !there.Call.IsCancellationRequested)
            {
                waiting.Remove(id);
                there.Met.SetResult(party);
                return there;
            }
            if (there?.Direction == party.Direction) there.Met.TrySetException(NotThere);
            waiting[id] = party;
        }
        try
        {
            return await party.Met.Task.WaitAsync(Patience, time, call);
        }
        catch (Exception error) when (error is TimeoutException or OperationCanceledException)
        {
            lock (gate)
            {
                if (waiting.GetValueOrDefault(id) == party) waiting.Remove(id);
            }
            // It may have been met at the last moment: then the other call counts on this one.
            if (party.Met.Task.IsCompletedSuccessfully && !call.IsCancellationRequested) return await party.Met.Task;
            if (party.Met.Task is { IsCompletedSuccessfully: true } met)
                (await met).Over.TrySetException(NotThere);
            throw NotThere;
        }
    }

    static RpcException NotThere => new(new Status(StatusCode.Unavailable, "The other host is not there yet."));

    async Task CarryAsync(TransferHello hello, Party sender, Party receiver, int diskGb, long epoch)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(sender.Call, receiver.Call);
        var watch = WatchAsync(hello, sender.Host, epoch, end);
        try
        {
            var ready = new TransferMessage { Ready = new TransferReady() };
            await receiver.Down.WriteAsync(ready, end.Token);
            await sender.Down.WriteAsync(ready, end.Token);
            await PassOnAsync(sender.Up, receiver.Down, diskGb, end.Token);
        }
        finally
        {
            await end.CancelQuietlyAsync();
            await watch;
        }
    }

    async Task PassOnAsync(IAsyncStreamReader<TransferMessage> up, IServerStreamWriter<TransferMessage> down,
        int diskGb, CancellationToken cancel)
    {
        long left = -1;
        while (await up.MoveNext(cancel).WaitAsync(IdleLimit, time, cancel))
        {
            left = Intake.Check(up.Current, left, diskGb);
            await down.WriteAsync(up.Current, cancel).WaitAsync(IdleLimit, time, cancel);
            if (up.Current.End is not null) return;
        }
        throw new RpcException(new Status(StatusCode.Aborted, "The sender broke off."));
    }

    /// <summary>Ends the transfer when nobody wants it any more, or another Hub is active.</summary>
    async Task WatchAsync(TransferHello hello, string host, long epoch, CancellationTokenSource end)
    {
        try
        {
            while (true)
            {
                await Task.Delay(CheckEvery, time, end.Token);
                if (await FindAsync(hello, host, epoch, end.Token) is null) await end.CancelQuietlyAsync();
            }
        }
        catch (OperationCanceledException)
        {
            // It has ended.
        }
        catch (Npgsql.NpgsqlException)
        {
            await end.CancelQuietlyAsync();
        }
    }

    static partial class Log
    {
        [LoggerMessage(320, LogLevel.Warning, "A transfer from {From} to {To} broke off: {Why}")]
        public static partial void Broken(ILogger log, string from, string to, string why);
    }
}
