using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Link;

/// <summary>
/// The connection of a Spoke while the database is being rebuilt: asks for its recovery records and takes them in, all
/// in one transaction. It sends no wanted states and processes no reports; heartbeats are answered. When the rebuild is
/// finished it ends, and the Spoke's next connection is an ordinary one.
/// </summary>
sealed partial class RebuildConnection(
    Caller caller, long epoch, Db db, Fence fence, Listener listener, Authority authority, HostReports reports,
    TimeProvider time, ILogger log)
{
    /// <summary>Longest time between two checks whether it is finished, in case a notification was lost.</summary>
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(15);

    readonly TaskCompletionSource<CheckedRecords> complete = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Whether this process still counts itself as the active Hub.</summary>
    public Func<bool> IsActing { get; init; } = () => true;

    /// <summary>Called with everything that arrives.</summary>
    public Action Heard { get; init; } = () => { };

    public async Task RunAsync(Hello hello, IAsyncStreamReader<SpokeMessage> up, IServerStreamWriter<HubMessage> down,
        CancellationToken cancel)
    {
        var facts = Intake.Check(hello);
        if (hello.Protocol < 3)
            throw new RpcException(new Status(StatusCode.FailedPrecondition,
                "The Hub's database is being rebuilt, and this Spoke is too old to help. Upgrade it."));
        using var all = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task[] parts = [ReadAsync(up, down, all.Token), TakeInAsync(facts, all.Token)];
        var first = await Task.WhenAny(parts);
        await all.CancelQuietlyAsync();
        await Task.WhenAll(parts).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    /// <summary>Reads all messages, and is the only one that writes, as gRPC requires.</summary>
    async Task ReadAsync(
        IAsyncStreamReader<SpokeMessage> up, IServerStreamWriter<HubMessage> down, CancellationToken cancel)
    {
        await down.WriteAsync(new HubMessage
        {
            Welcome = new Welcome
            {
                HostId = caller.Host,
                Epoch = epoch,
                HeartbeatSeconds = Protocol.HeartbeatSeconds,
                // Not stored: an ordinary connection accepts any token from a host that has none yet.
                Token = ByteString.CopyFrom(RandomNumberGenerator.GetBytes(Protocol.TokenBytes)),
                WantsRecords = true,
            },
        }, cancel);
        var records = new CheckedRecords([], []);
        while (await up.MoveNext(cancel))
        {
            Heard();
            if (!IsActing()) throw new SeatLostException(epoch);
            if (up.Current.Heartbeat is not null)
                await down.WriteAsync(
                    new HubMessage { Heartbeat = new HeartbeatReply { Epoch = epoch } }, cancel);
            if (up.Current.Records is { } part && !complete.Task.IsCompleted) records = Add(records, part);
        }
    }

    /// <exception cref="RpcException">Malformed, or more than a host may have.</exception>
    CheckedRecords Add(CheckedRecords records, Records part)
    {
        var next = Intake.Check(part, caller.Host, authority);
        records = new CheckedRecords([.. records.Vms, .. next.Vms], [.. records.Refused, .. next.Refused]);
        if (records.Vms.Count + records.Refused.Count > Intake.MaxVms)
            throw new RpcException(new Status(StatusCode.ResourceExhausted, $"A host may have {Intake.MaxVms} VMs."));
        if (part.Last) complete.TrySetResult(records);
        return records;
    }

    async Task TakeInAsync(HostFactsRow facts, CancellationToken cancel)
    {
        using var changed = listener.Subscribe(Listener.Hosts, caller.Host);
        var records = await complete.Task.WaitAsync(cancel);
        await FollowAsync(records, cancel);
        if (await TakeInAsync(facts, records, cancel) is { } plan)
        {
            Log.TakenIn(log, caller.Host, plan.Vms.Count, plan.Present, plan.Notes.Count);
            while (await db.AskAsync<bool>(RebuildSql.IsOpen, null, cancel))
                await changed.WaitAsync(LookAgain, cancel);
        }
        throw new RpcException(new Status(StatusCode.Unavailable, "The rebuild is finished; connect again."));
    }

    Task<RebuildHost.Plan?> TakeInAsync(HostFactsRow facts, CheckedRecords records, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            var plan = await RebuildHost.InAsync(transaction, caller.Host, caller.Certificate, records.Vms,
                records.Refused, time.GetUtcNow().UtcDateTime, cancel);
            if (plan is null) return null;
            await reports.SaveAsync(transaction, facts, cancel);
            // It is not used before the rebuild is finished.
            await transaction.ExecuteAsync(HostSql.Offline, new { id = caller.Host }, cancel);
            return plan;
        }, cancel);

    /// <summary>
    /// The Spoke has followed a higher epoch than this one: the copy in the data folder was old. The next epoch is
    /// above it. Only records count that this Hub has signed, so a Spoke cannot raise it at will.
    /// </summary>
    async Task FollowAsync(CheckedRecords records, CancellationToken cancel)
    {
        var highest = records.Vms.Select(r => r.Epoch).DefaultIfEmpty().Max();
        if (highest < epoch) return;
        await fence.ExecuteAsync(epoch, SeatSql.LiftOver, new { epoch = highest }, cancel);
        throw new SeatLostException(epoch);
    }

    static partial class Log
    {
        [LoggerMessage(314, LogLevel.Information,
            "Host {Host} was taken in: {Added} VMs, {Present} were there already; {Notes} notes")]
        public static partial void TakenIn(ILogger log, string host, int added, int present, int notes);
    }
}
