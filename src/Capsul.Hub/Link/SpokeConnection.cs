using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Images;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Link;

/// <summary>
/// The connection of one Spoke: sends wanted states whenever the host's generation increases, and processes reports.
/// Everything it sends carries the epoch; everything it writes is fenced by it. It ends when the Spoke disconnects,
/// when a newer connection for the same host takes over, or when the seat is lost; the Spoke then reconnects.
/// </summary>
public sealed partial class SpokeConnection(
    string host, long epoch, Db db, Listener listener, Settings settings, TimeProvider time, ILogger log)
{
    /// <summary>Longest time between two checks of the generation, in case a notification was lost.</summary>
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(15);

    /// <summary>The highest generation sent; -1 before the first message.</summary>
    long sent = -1;
    /// <summary>A Spoke of protocol version 1 does not report which epoch it answers.</summary>
    bool saysEpoch = true;

    public async Task RunAsync(
        IAsyncStreamReader<SpokeMessage> up, IServerStreamWriter<HubMessage> down, CancellationToken cancel)
    {
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var reading = ReadAsync(up, both.Token);
        var writing = WriteAsync(down, both.Token);
        var first = await Task.WhenAny(reading, writing);
        await both.CancelAsync();
        await Task.WhenAll(reading, writing).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    /// <summary>Stores the hello: the host's capacity, images and addresses.</summary>
    public async Task GreetAsync(Hello hello, CancellationToken cancel)
    {
        var facts = Intake.Check(hello);
        saysEpoch = hello.Protocol >= 2;
        await db.InTransactionAsync(async transaction =>
        {
            await transaction.HoldSeatAsync(epoch, cancel);
            var isLocal = await transaction.FindAsync<bool?>(HostSql.SaveFacts, new
            {
                id = host,
                now = Now(),
                version = facts.Version,
                hypervisor = facts.Hypervisor,
                cpus = facts.Cpus,
                memoryMb = facts.MemoryMb,
                diskFreeMb = facts.DiskFreeMb,
                diskMb = facts.DiskMb,
                maxVms = facts.MaxVms,
            }, cancel);
            if (isLocal is null) throw Revoked();
            await PutImagesAsync(transaction, facts.Images, isLocal.Value, cancel);
            await PutAddressesAsync(transaction, facts.Addresses, cancel);
            return true;
        }, cancel);
    }

    async Task PutImagesAsync(
        NpgsqlTransaction transaction, IReadOnlyList<HostImageRow> images, bool isLocal, CancellationToken cancel)
    {
        foreach (var i in images)
        {
            await transaction.ExecuteAsync(
                ImageSql.PutOfHost,
                new { host, i.Id, i.Sha256, i.Title, i.LoginUser, i.MinDiskGb, i.MinMemoryMb }, cancel);
            if (isLocal) await transaction.ExecuteAsync(ImageSql.Offer, new { id = i.Id, host }, cancel);
        }
        await transaction.ExecuteAsync(
            ImageSql.ClearOfHost, new { host, images = images.Select(i => i.Id).ToArray() }, cancel);
    }

    async Task PutAddressesAsync(NpgsqlTransaction transaction, IReadOnlyList<IPAddress> all, CancellationToken cancel)
    {
        var addresses = all.Select(a => a.ToString()).ToArray();
        if (await transaction.FindAsync<int>(AddressSql.Count, new { host, addresses }, cancel) != addresses.Length)
            await transaction.ExecuteAsync(
                AddressSql.Put, new { host, addresses, macs = all.Select(Ipv4.Mac).ToArray() }, cancel);
        await transaction.ExecuteAsync(AddressSql.Drop, new { host, addresses }, cancel);
    }

    async Task ReadAsync(IAsyncStreamReader<SpokeMessage> up, CancellationToken cancel)
    {
        while (await up.MoveNext(cancel)) await TakeInAsync(up.Current, cancel);
    }

    /// <summary>Processes one message.</summary>
    /// <exception cref="RpcException">The connection must end: the message is malformed, or the host was revoked or
    /// must reconnect.</exception>
    public async Task TakeInAsync(SpokeMessage message, CancellationToken cancel)
    {
        switch (message.BodyCase)
        {
            case SpokeMessage.BodyOneofCase.Inventory:
                foreach (var vm in Intake.Check(message.Inventory)) await TakeInAsync(vm, cancel);
                break;
            case SpokeMessage.BodyOneofCase.Vm:
                await TakeInAsync(Intake.Check(message.Vm), cancel);
                break;
            case SpokeMessage.BodyOneofCase.Heartbeat:
                await TakeInAsync(Intake.Check(message.Heartbeat), cancel);
                break;
            case SpokeMessage.BodyOneofCase.Hello:
                await GreetAsync(message.Hello, cancel);
                break;
            case SpokeMessage.BodyOneofCase.None:
                break;
            default:
                throw new RpcException(new Status(StatusCode.InvalidArgument,
                    "The Hub does not recognize this message."));
        }
    }

    async Task TakeInAsync(VmObservation report, CancellationToken cancel)
    {
        // A report that answers an older epoch may use different generations; the one for this epoch follows.
        if (!saysEpoch) report = report with { Epoch = epoch };
        var known = await db.InTransactionAsync(async transaction =>
        {
            await transaction.HoldSeatAsync(epoch, cancel);
            return await ObserveVm.RunAsync(transaction, host, report, epoch, settings, time, cancel);
        }, cancel);
        if (known is null && report.Power != Power.Gone) Log.UnknownVm(log, host, report.Id);
    }

    async Task TakeInAsync(HeartbeatRow heartbeat, CancellationToken cancel)
    {
        var wasOnline = await db.InTransactionAsync(async transaction =>
        {
            await transaction.HoldSeatAsync(epoch, cancel);
            return await transaction.FindAsync<bool?>(HostSql.Heartbeat, new
            {
                id = host,
                now = Now(),
                answers = heartbeat.Answers,
                diskFreeMb = heartbeat.DiskFreeMb,
                problem = heartbeat.Problem,
            }, cancel);
        }, cancel);
        if (wasOnline is null) throw Revoked();
        // Its VMs may have become unknown meanwhile (HostHealth), and it only reports changes: a new connection begins
        // with the full inventory.
        if (wasOnline == false && heartbeat.Answers)
            throw new RpcException(
                new Status(StatusCode.Unavailable, "The host was offline and must resend its inventory."));
    }

    static RpcException Revoked() => new(new Status(StatusCode.PermissionDenied, "This host was revoked."));

    async Task WriteAsync(IServerStreamWriter<HubMessage> down, CancellationToken cancel)
    {
        using var changed = listener.Subscribe(Listener.Hosts, host);
        await down.WriteAsync(new HubMessage
        {
            Welcome = new Welcome { HostId = host, Epoch = epoch, HeartbeatSeconds = Protocol.HeartbeatSeconds },
        }, cancel);
        while (true)
        {
            if (await ChangesAsync(cancel) is { } wanted)
                await down.WriteAsync(new HubMessage { Wanted = wanted }, cancel);
            await changed.WaitAsync(LookAgain, cancel);
        }
    }

    /// <summary>The wanted states that changed since the last message; null when none did.</summary>
    public async Task<Wanted?> ChangesAsync(CancellationToken cancel)
    {
        // Generation first, then the rows: a change in between is already in the rows, and is sent again with the next
        // generation.
        var generation = await db.FindAsync<long?>(HostSql.Generation, new { id = host }, cancel) ?? throw Revoked();
        if (generation == sent) return null;
        // The first message contains everything, even what did not change, because it is new under this epoch.
        var rows = await db.ListAsync<WantedRow>(HostSql.Wanted, new { host, since = Math.Max(sent, -1) }, cancel);
        var wanted = new Wanted { Epoch = epoch, Generation = generation };
        wanted.Vms.AddRange(rows.Select(ToWire));
        sent = generation;
        return wanted;
    }

    static WantedVm ToWire(WantedRow row)
    {
        var vm = new WantedVm
        {
            Id = row.Id,
            Power = row.Wanted switch
            {
                "on" => Power.On,
                "off" => Power.Off,
                "gone" => Power.Gone,
                _ => throw new InvalidOperationException(row.Wanted),
            },
            Generation = row.WantedGeneration,
            Restarts = row.Restarts,
            StopGraceSeconds = row.StopGraceSeconds,
            Name = row.Name,
            Vcpus = row.Vcpus,
            MemoryMb = row.MemoryMb,
            DiskGb = row.DiskGb,
            ImageId = row.Image,
            ImageSha256 = row.ImageSha256,
            HasRun = row.HasRun,
            Mac = row.Mac ?? "",
            Address = row.Address ?? "",
        };
        vm.SshKeys.AddRange(row.Keys.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        return vm;
    }

    DateTime Now() => time.GetUtcNow().UtcDateTime;

    static partial class Log
    {
        [LoggerMessage(300, LogLevel.Warning, "Host {Host} reports an unknown VM: {Vm}; leaving it alone")]
        public static partial void UnknownVm(ILogger log, string host, string vm);
    }
}
