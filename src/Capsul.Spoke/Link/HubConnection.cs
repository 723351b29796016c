using System.Security.Cryptography;
using System.Threading.Channels;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.Extensions.Logging;

namespace Capsul.Spoke.Link;

/// <summary>
/// The Spoke's end of the link: dials out, sends hello and the inventory, receives wanted states, reports changes, and
/// sends heartbeats. When the connection breaks, or the Hub does not answer a heartbeat in time, it tries the Hubs that
/// it knows, with exponential backoff from 0.2 s to 10 s and jitter; reports that could not be sent are dropped,
/// because the inventory on connect contains everything.
/// </summary>
public sealed partial class HubConnection(
    HostVms vms, Settings settings, Identity identity, IHypervisor hypervisor,
    ImageStore images, TimeProvider time, ILogger<HubConnection> log)
{
    static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(200),
        LongestPause = TimeSpan.FromSeconds(10), HealthLimit = TimeSpan.FromSeconds(5);

    /// <summary>Where there are several Hubs, one that cannot be reached must not delay the next for long.</summary>
    static readonly TimeSpan NextHubAfter = TimeSpan.FromSeconds(10);
    static readonly TimeSpan RenewEvery = TimeSpan.FromHours(6), FactsEvery = TimeSpan.FromSeconds(2);
    /// <summary>
    /// Maximum number of queued reports; beyond it, the connection is closed, and the next one's inventory contains
    /// everything.
    /// </summary>
    const int MaxWaiting = 10_000;
    const string BootIdFile = "/proc/sys/kernel/random/boot_id";

    readonly HubAddresses hubs = new(identity.Folder, identity.Address);
    readonly ConnectionToken token = new(identity.Folder);
    readonly string runId = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
    Channel<VmReport> reports = Channel.CreateBounded<VmReport>(MaxWaiting);
    CancellationTokenSource? current;

    /// <summary>Where the Hub is, as far as it is known.</summary>
    public string Address => hubs.Current;

    /// <summary>Begins a stream that the Hub asks for.</summary>
    public Action<OpenStream> OpenStream { get; set; } = _ => { };

    /// <summary>Sends a report when connected.</summary>
    public void Tell(VmReport report)
    {
        if (!reports.Writer.TryWrite(report)) current?.Cancel();
    }

    public async Task RunAsync(CancellationToken cancel)
    {
        var (pause, tried) = (FirstPause, 1);
        while (!cancel.IsCancellationRequested)
        {
            var (began, address) = (time.GetTimestamp(), hubs.Current);
            try
            {
                await ConnectAsync(address, cancel);
            }
            catch (Exception error) when (error is RpcException or IOException or HypervisorException
                or ProblemException or ObjectDisposedException or OperationCanceledException or TimeoutException)
            {
                // Whatever error the connection raised as the program stopped.
                cancel.ThrowIfCancellationRequested();
                Log.Broken(log, address, Reason(error));
                hubs.Advance((error as RpcException)?.Trailers.GetValue(Protocol.ActiveHubTrailer));
            }
            if (time.GetElapsedTime(began) > LongestPause) (pause, tried) = (FirstPause, 1);
            await Task.Delay(Jittered(pause), time, cancel);
            // All Hubs are tried before the pause grows.
            if (tried++ % hubs.Count == 0) pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }

    /// <summary>The Hub's sentence, or what else is known.</summary>
    static string Reason(Exception error) =>
        error is RpcException { Status.Detail.Length: > 0 } refused ? refused.Status.Detail
        : error is RpcException unexplained ? $"status {unexplained.StatusCode} without a reason"
        : error.Message;

    /// <summary>A thousand Spokes must not return at the same moment.</summary>
    static TimeSpan Jittered(TimeSpan pause) => pause * (RandomNumberGenerator.GetInt32(50, 151) / 100.0);

    async Task ConnectAsync(string address, CancellationToken cancel)
    {
        using var channel = identity.OpenAt(address, hubs.Count > 1 ? NextHubAfter : null);
        if (await identity.RenewAsync(channel, time, cancel)) return; // Reconnect with the new certificate.
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        current = ended;
        using var call = new HubLink.HubLinkClient(channel).Connect(cancellationToken: ended.Token);
        reports = Channel.CreateBounded<VmReport>(MaxWaiting);
        await call.RequestStream.WriteAsync(new SpokeMessage { Hello = await HelloAsync(ended.Token) }, ended.Token);
        var inventory = new Inventory();
        inventory.Vms.AddRange(await vms.InventoryAsync(ended.Token));
        await call.RequestStream.WriteAsync(new SpokeMessage { Inventory = inventory }, ended.Token);
        var sending = Channel.CreateBounded<SpokeMessage>(1);
        var replies = new ReplyWatch(time);
        var takesUsage = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task[] all =
        [
            new HubMessages(vms, hubs, token, sending.Writer, replies, OpenStream, address, log)
                { TakesUsage = () => takesUsage.TrySetResult() }
                .ReceiveAsync(call.ResponseStream, ended.Token),
            SendAsync(sending, call.RequestStream, ended.Token), ForwardAsync(sending, ended.Token),
            BeatAsync(sending, replies, ended.Token), ReportForeignAsync(sending, ended.Token),
            new UsageReports(hypervisor, time).RunAsync(sending.Writer, takesUsage.Task, ended.Token),
            replies.RunAsync(ended.Token),
            RenewInTimeAsync(channel, ended.Token),
        ];
        var first = await Task.WhenAny(all);
        current = null;
        await ended.CancelAsync();
        await Task.WhenAll(all).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await first;
    }

    async Task<Hello> HelloAsync(CancellationToken cancel)
    {
        var capacity = await hypervisor.CapacityAsync(cancel);
        var facts = new HostFacts
        {
            Hypervisor = capacity.Hypervisor,
            Cpus = capacity.Cpus,
            MemoryMb = capacity.MemoryMb,
            DiskFreeMb = capacity.DiskFreeMb,
            DiskMb = capacity.DiskMb,
            MaxVms = settings.RelayPorts.Last - settings.RelayPorts.First + 1,
            MovesDisks = true,
            OpensStreams = true,
            OpensPorts = true,
            ChangesKeys = true,
            MakesDisksAnew = true,
            Rescues = true,
            RenewsSeeds = true,
            ForwardsUdp = true,
            ShowsScreens = true,
            GivesMoreAddresses = true,
            ForwardFirst = settings.ForwardPorts?.First ?? 0,
            ForwardLast = settings.ForwardPorts?.Last ?? 0,
            Network = new NetworkFacts
            {
                Cidr = capacity.Network.Cidr.ToString(),
                Gateway = capacity.Network.Gateway.ToString(),
                First = capacity.Network.First.ToString(),
                Last = capacity.Network.Last.ToString(),
                Cidr6 = capacity.Network.Cidr6?.ToString() ?? "",
                Gateway6 = capacity.Network.Gateway6?.ToString() ?? "",
            },
        };
        facts.Images.AddRange(images.List().Select(i => new ImageFacts
        {
            Id = i.Id,
            Title = i.Title,
            Sha256 = i.Sha256,
            LoginUser = i.LoginUser,
            MinDiskGb = i.MinDiskGb,
            MinMemoryMb = i.MinMemoryMb,
        }));
        return new Hello
        {
            Protocol = Protocol.Version,
            Version = SpokeProgram.Version,
            Facts = facts,
            BootId = BootId(),
            RunId = runId,
            Token = ByteString.CopyFrom(token.Read()),
        };
    }

    /// <summary>The kernel's name for this boot of the machine.</summary>
    static string BootId() => File.Exists(BootIdFile) ? File.ReadAllText(BootIdFile).Trim() : "";

    /// <summary>One writer for the stream, as gRPC requires.</summary>
    static async Task SendAsync(
        Channel<SpokeMessage> sending, IClientStreamWriter<SpokeMessage> up, CancellationToken cancel)
    {
        await foreach (var message in sending.Reader.ReadAllAsync(cancel))
            await up.WriteAsync(message, cancel);
    }

    async Task ForwardAsync(Channel<SpokeMessage> sending, CancellationToken cancel)
    {
        await foreach (var report in reports.Reader.ReadAllAsync(cancel))
            await sending.Writer.WriteAsync(new SpokeMessage { Vm = report }, cancel);
    }

    async Task BeatAsync(Channel<SpokeMessage> sending, ReplyWatch replies, CancellationToken cancel)
    {
        // The connection may be new because the hypervisor did not respond: the first answer wakes all VMs.
        var (known, nextBeat, answered) = (Catalog(), DateTimeOffset.MinValue, false);
        while (true)
        {
            // New images are reported immediately: somebody may be waiting for one.
            if (Catalog() is var now && now != known)
            {
                known = now;
                await sending.Writer.WriteAsync(new SpokeMessage { Hello = await HelloAsync(cancel) }, cancel);
            }
            if (time.GetUtcNow() >= nextBeat)
            {
                var heartbeat = await HeartbeatAsync(cancel);
                // The hypervisor stopped responding or responds again: the VMs' reports should change as soon as the
                // host's.
                if (heartbeat.HypervisorAnswers != answered) vms.LookAtAll();
                answered = heartbeat.HypervisorAnswers;
                await sending.Writer.WriteAsync(new SpokeMessage { Heartbeat = heartbeat }, cancel);
                replies.Sent();
                if (answered) await ReportUnknownVmsAsync(sending, cancel);
                nextBeat = time.GetUtcNow() + TimeSpan.FromSeconds(Protocol.HeartbeatSeconds);
            }
            await Task.Delay(FactsEvery, time, cancel);
        }
    }

    /// <summary>
    /// With every heartbeat, not only on connect: a leftover machine may use an address that another VM has now.
    /// </summary>
    async Task ReportUnknownVmsAsync(Channel<SpokeMessage> sending, CancellationToken cancel)
    {
        try
        {
            foreach (var unknown in await vms.UnknownVmsAsync(cancel))
                await sending.Writer.WriteAsync(new SpokeMessage { Vm = unknown }, cancel);
        }
        catch (HypervisorException)
        {
            // It responded a moment ago; the next heartbeat reports the failure.
        }
    }

    /// <summary>
    /// Sends what changed. Apart from the heartbeat: each of their disks may be on a file system that hangs.
    /// </summary>
    async Task ReportForeignAsync(Channel<SpokeMessage> sending, CancellationToken cancel)
    {
        ForeignMachines? known = null;
        while (true)
        {
            try
            {
                var now = await vms.ForeignAsync(cancel);
                if (!now.Equals(known))
                    await sending.Writer.WriteAsync(new SpokeMessage { Foreign = now.Clone() }, cancel);
                known = now;
            }
            catch (HypervisorException)
            {
                // The next heartbeat reports it.
            }
            await Task.Delay(TimeSpan.FromSeconds(Protocol.HeartbeatSeconds), time, cancel);
        }
    }

    string Catalog() => string.Join(' ', images.List().Select(i => i.Id + i.Version));

    async Task<Heartbeat> HeartbeatAsync(CancellationToken cancel)
    {
        var free = new DriveInfo(settings.Data).AvailableFreeSpace >> 20;
        try
        {
            await hypervisor.ListAsync(cancel).WaitAsync(HealthLimit, cancel);
            return new Heartbeat
            {
                HypervisorAnswers = true,
                DiskFreeMb = free,
                UnixMs = UnixMs(),
                RulesRemovedAgo = hypervisor.RulesRemoved is { } at
                    ? (long)(time.GetUtcNow() - at).TotalSeconds + 1 : 0,
                CutOff = hypervisor.CutOff,
            };
        }
        catch (Exception error) when (error is HypervisorException or TimeoutException)
        {
            return new Heartbeat
            {
                HypervisorAnswers = false,
                DiskFreeMb = free,
                Problem = error.Message,
                UnixMs = UnixMs(),
                CutOff = hypervisor.CutOff,
            };
        }
    }

    long UnixMs() => time.GetUtcNow().ToUnixTimeMilliseconds();

    async Task RenewInTimeAsync(GrpcChannel channel, CancellationToken cancel)
    {
        do
        {
            await Task.Delay(RenewEvery, time, cancel);
        }
        while (!await identity.RenewAsync(channel, time, cancel));
    }

    static partial class Log
    {
        [LoggerMessage(431, LogLevel.Warning, "The connection to the Hub at {Address} was lost: {Why}; reconnecting")]
        public static partial void Broken(ILogger log, string address, string why);
    }
}
