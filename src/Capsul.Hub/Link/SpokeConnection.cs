using System.Globalization;
using System.Threading.Channels;
using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Link;

/// <summary>
/// The connection of one Spoke: sends wanted states whenever the host's generation increases, and processes reports.
/// Everything it sends carries the epoch; everything it writes is fenced by it. Heartbeats are answered on arrival,
/// also while an inventory is processed. The next wanted states are sent only when the Spoke has acknowledged the ones
/// before. It ends when the Spoke disconnects, when a newer connection for the same host takes over, or when the seat
/// is lost; the Spoke then reconnects.
/// </summary>
public sealed class SpokeConnection(
    string host, long epoch, Db db, Fence fence, Heartbeats heartbeats, Listener listener, Settings settings,
    TimeProvider time, ILogger log)
{
    /// <summary>Longest time between two checks of the generation, in case a notification was lost.</summary>
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(15), AcknowledgeLimit = TimeSpan.FromMinutes(1);

    const int MaxWaiting = 64;

    readonly HostReports reports = new(host, epoch, db, fence, settings, time, log);
    readonly PendingReports pending = new(time);
    readonly Signal acknowledgment = new();
    readonly Channel<HubMessage> outgoing = Channel.CreateBounded<HubMessage>(MaxWaiting);
    /// <summary>The highest generation sent; -1 before the first message.</summary>
    long sent = -1;
    long acknowledged = -1;
    uint protocol = Protocol.Version;
    byte[]? token;
    bool isConfirmed;

    /// <summary>Whether this process still counts itself as the active Hub.</summary>
    public Func<bool> IsActing { get; init; } = () => true;

    /// <summary>Called with everything that arrives.</summary>
    public Action Heard { get; init; } = () => { };

    /// <summary>How many connections process their inventories at the same time; the others wait.</summary>
    public SemaphoreSlim? Admission { get; init; }

    /// <summary>Signs the recovery records; null: none are sent.</summary>
    public Authority? Authority { get; init; }

    /// <summary>A Spoke of protocol version 2 does not.</summary>
    bool Acknowledges => protocol >= 3;

    public async Task RunAsync(IAsyncStreamReader<SpokeMessage> up, IServerStreamWriter<HubMessage> down,
        IReadOnlyList<string> hubs, CancellationToken cancel)
    {
        using var all = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task[] parts =
        [
            ReadAsync(up, all.Token), ProcessAsync(all.Token), WriteAsync(down, all.Token), OrderAsync(hubs, all.Token),
        ];
        var first = await Task.WhenAny(parts);
        await all.CancelQuietlyAsync();
        await Task.WhenAll(parts).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    /// <summary>Stores the hello, and checks that the Spoke is not a copy of another.</summary>
    public async Task GreetAsync(Hello hello, CancellationToken cancel)
    {
        protocol = hello.Protocol;
        token = await AdmittedAsync(() => reports.GreetAsync(hello, cancel), cancel);
    }

    /// <summary>Asks the Spoke to open a stream. False: it does not read what it is sent.</summary>
    public bool TryOpen(OpenStream asked) => outgoing.Writer.TryWrite(new HubMessage { Open = asked });

    /// <summary>The token for the Spoke's next connection.</summary>
    public byte[]? Token => token;

    public Task AlertCopyAsync(CancellationToken cancel) => reports.AlertCopyAsync(cancel);

    async Task ReadAsync(IAsyncStreamReader<SpokeMessage> up, CancellationToken cancel)
    {
        while (await up.MoveNext(cancel))
        {
            Heard();
            Receive(up.Current);
        }
    }

    /// <summary>Takes a message without waiting for anything.</summary>
    /// <exception cref="RpcException">The connection must end: the message is malformed.</exception>
    void Receive(SpokeMessage message)
    {
        switch (message.BodyCase)
        {
            case SpokeMessage.BodyOneofCase.Heartbeat:
                Note(message.Heartbeat);
                // If the Spoke does not read, one reply more or less does not matter.
                if (Acknowledges)
                    outgoing.Writer.TryWrite(new HubMessage { Heartbeat = new HeartbeatReply { Epoch = epoch } });
                break;
            case SpokeMessage.BodyOneofCase.Inventory:
                pending.Add(Intake.Check(message.Inventory));
                break;
            case SpokeMessage.BodyOneofCase.Vm:
                pending.Add(Intake.Check(message.Vm));
                break;
            case SpokeMessage.BodyOneofCase.Foreign:
                pending.Add(Intake.Check(message.Foreign));
                break;
            case SpokeMessage.BodyOneofCase.Usage:
                pending.Add(Intake.Check(message.Usage));
                break;
            case SpokeMessage.BodyOneofCase.Applied:
                Acknowledge(message.Applied);
                if (message.Applied.TokenStored && !isConfirmed) pending.Confirm();
                break;
            case SpokeMessage.BodyOneofCase.Hello:
                pending.Add(message.Hello);
                break;
            case SpokeMessage.BodyOneofCase.None:
                break;
            default:
                throw new RpcException(new Status(StatusCode.InvalidArgument,
                    "The Hub does not recognize this message."));
        }
    }

    void Note(Heartbeat heartbeat) => heartbeats.Note(
        host, Intake.Check(heartbeat, time.GetUtcNow()), Math.Max(0, Interlocked.Read(ref acknowledged)),
        () => pending.Fail(new RpcException(new Status(StatusCode.Unavailable,
            "The host was offline and must resend its inventory."))));

    void Acknowledge(Applied applied)
    {
        if (applied.Epoch != epoch) return;
        Interlocked.Exchange(ref acknowledged, applied.Generation);
        acknowledgment.Set();
    }

    async Task ProcessAsync(CancellationToken cancel)
    {
        while (true) await ProcessAsync(await pending.TakeAsync(cancel), cancel);
    }

    async Task ProcessAsync(ReportBatch batch, CancellationToken cancel)
    {
        if (batch.Hello is not null) await reports.UpdateAsync(batch.Hello, cancel);
        if (batch.Foreign is not null) await reports.TakeInAsync(batch.Foreign, cancel);
        if (batch.Confirms && token is not null && !isConfirmed)
        {
            await reports.ConfirmAsync(token, cancel);
            isConfirmed = true;
        }
        if (batch.IsInventory)
            await AdmittedAsync(async () =>
            {
                await reports.TakeInAsync(batch.Reports, isInventory: true, cancel);
                return true;
            }, cancel);
        else if (batch.Reports.Count > 0)
            await reports.TakeInAsync(batch.Reports, isInventory: false, cancel);
        if (batch.Used is { Count: > 0 }) await reports.TakeInAsync(batch.Used, cancel);
    }

    async Task<T> AdmittedAsync<T>(Func<Task<T>> work, CancellationToken cancel)
    {
        if (Admission is null) return await work();
        await Admission.WaitAsync(cancel);
        try
        {
            return await work();
        }
        finally
        {
            Admission.Release();
        }
    }

    /// <summary>Receives one message and processes it at once.</summary>
    /// <exception cref="RpcException">The connection must end: the message is malformed, or the host was revoked or
    /// must reconnect.</exception>
    public async Task TakeInAsync(SpokeMessage message, CancellationToken cancel)
    {
        Receive(message);
        if (pending.TryTake() is { } batch) await ProcessAsync(batch, cancel);
    }

    /// <summary>One writer for the stream, as gRPC requires.</summary>
    async Task WriteAsync(IServerStreamWriter<HubMessage> down, CancellationToken cancel)
    {
        await foreach (var message in outgoing.Reader.ReadAllAsync(cancel))
        {
            // A process that was frozen must not go on where it stopped.
            if (!IsActing()) throw new SeatLostException(epoch);
            await down.WriteAsync(message, cancel);
        }
    }

    /// <summary>Sends the welcome, then wanted states as they change.</summary>
    async Task OrderAsync(IReadOnlyList<string> hubs, CancellationToken cancel)
    {
        using var changed = listener.Subscribe(Listener.Hosts, host);
        var welcome = new Welcome
        {
            HostId = host,
            Epoch = epoch,
            HeartbeatSeconds = Protocol.HeartbeatSeconds,
            Protocol = Protocol.Version,
            TakesUsage = true,
        };
        if (token is not null) welcome.Token = ByteString.CopyFrom(token);
        welcome.Hubs.AddRange(hubs);
        await outgoing.Writer.WriteAsync(new HubMessage { Welcome = welcome }, cancel);
        while (true)
        {
            if (await ChangesAsync(cancel) is { } wanted)
            {
                foreach (var part in Parts(wanted))
                    await outgoing.Writer.WriteAsync(new HubMessage { Wanted = part }, cancel);
                if (Acknowledges) await AwaitAcknowledgmentAsync(wanted.Generation, cancel);
            }
            await changed.WaitAsync(LookAgain, cancel);
        }
    }

    /// <summary>
    /// The same in messages of bounded size, all of this generation: a Spoke leaves VMs alone that a message does not
    /// name, and after a break it gets everything again.
    /// </summary>
    public static IEnumerable<Wanted> Parts(Wanted wanted)
    {
        Wanted Empty() => new()
        {
            Epoch = wanted.Epoch,
            Generation = wanted.Generation,
            CountsMoves = wanted.CountsMoves,
        };
        var (part, bytes) = (Empty(), 0);
        foreach (var vm in wanted.Vms)
        {
            var size = vm.CalculateSize();
            if (bytes > 0 && bytes + size > Protocol.MessagePartBytes)
            {
                yield return part;
                (part, bytes) = (Empty(), 0);
            }
            part.Vms.Add(vm);
            bytes += size;
        }
        yield return part;
    }

    async Task AwaitAcknowledgmentAsync(long generation, CancellationToken cancel)
    {
        var began = time.GetTimestamp();
        while (Interlocked.Read(ref acknowledged) < generation)
        {
            var left = AcknowledgeLimit - time.GetElapsedTime(began);
            if (left <= TimeSpan.Zero || !await acknowledgment.WaitAsync(left, time, cancel))
                throw new RpcException(new Status(StatusCode.DeadlineExceeded,
                    "The Spoke did not acknowledge its wanted states in time."));
        }
    }

    /// <summary>The wanted states that changed since the last message; null when none did.</summary>
    public async Task<Wanted?> ChangesAsync(CancellationToken cancel)
    {
        // Generation first, then the rows: a change in between is already in the rows, and is sent again with the next
        // generation.
        var generation = await db.FindAsync<long?>(HostSql.Generation, new { id = host }, cancel)
            ?? throw await GoneAsync(cancel);
        if (generation == sent) return null;
        // The first message contains everything, even what did not change, because it is new under this epoch.
        var rows = await db.ListAsync<WantedRow>(HostSql.Wanted, new { host, since = Math.Max(sent, -1) }, cancel);
        var wanted = new Wanted { Epoch = epoch, Generation = generation, CountsMoves = true };
        wanted.Vms.AddRange(rows.Select(ToWire));
        sent = generation;
        return wanted;
    }

    async Task<RpcException> GoneAsync(CancellationToken cancel) =>
        await db.FindAsync<string>(HostSql.StateOf, new { id = host }, cancel) is null
            ? HostReports.Renamed() : HostReports.Revoked();

    WantedVm ToWire(WantedRow row)
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
            ImageId = row.NewImage ?? row.Image,
            ImageSha256 = row.NewImageSha256 ?? row.ImageSha256,
            // Of a disk that is made anew: once the Spoke has started from it, it knows that itself.
            HasRun = row.HasRun && !row.KeepsOldDisk,
            Disk = row.Disk,
            KeepsOldDisk = row.KeepsOldDisk,
            Mac = row.Mac ?? "",
            Address = row.Address ?? "",
            Address6 = row.Address6 ?? "",
            Adopt = row.Adopt,
            Adopted = row.Adopted,
            IsCopy = row.IsCopy,
            Moves = row.Moves,
            Rescue = RescueOf(row),
            KeySet = row.KeySet is { } set ? new WantedKeySet { Number = set, LoginUser = row.LoginUser } : null,
        };
        if (row.Transfer.Length > 0)
            vm.Transfer = new WantedTransfer
            {
                Id = row.Transfer,
                Direction = row.IsCopy ? Direction.Receive : Direction.Send,
            };
        foreach (var key in row.HostKeys.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            vm.HostKeys.Add(new SshHostKey { Type = key.Split(' ')[0], Key = key.Split(' ')[1] });
        vm.SshKeys.AddRange((row.NewKeys ?? row.Keys).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        vm.Ports.AddRange(row.Ports.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(ToPort));
        foreach (var further in row.Further.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            vm.FurtherAddresses.Add(further.Split(' ')[0]);
        vm.Firewall = WantedFirewalls.ToWire(row.Email, row.Firewall, row.FirewallRules);
        if (Authority is not null && !row.IsCopy) RecoveryRecords.AddTo(vm, row, host, epoch, Authority);
        return vm;
    }

    /// <summary>A line of three words: the VM's port, the host's, and the protocol.</summary>
    static WantedPort ToPort(string line)
    {
        var words = line.Split(' ');
        return new WantedPort
        {
            VmPort = int.Parse(words[0], CultureInfo.InvariantCulture),
            HostPort = int.Parse(words[1], CultureInfo.InvariantCulture),
            Protocol = words[2] == "udp" ? IpProtocol.Udp : IpProtocol.Tcp,
        };
    }

    static WantedRescue? RescueOf(WantedRow row)
    {
        if (row.Rescue is not { } number) return null;
        var rescue = new WantedRescue
        {
            Number = number,
            ImageId = row.RescueImage,
            ImageSha256 = row.RescueImageSha256,
        };
        rescue.SshKeys.AddRange(row.RescueKeys!.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        return rescue;
    }
}
