using System.Collections.Concurrent;
using System.Net;
using System.Security.Authentication;
using System.Threading.Channels;
using Capsul.Foundation;
using Capsul.Hub.Features.Addresses;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Old = Capsul.Tests.Link.Previous;

namespace Capsul.Tests.Link;

/// <summary>
/// Hub and Spoke one version apart, in both directions, against a kept copy of the previous contract; two apart they
/// refuse each other in words.
/// </summary>
public sealed class VersionSkewTests
{
    const uint OldVersion = 2;
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_spoke_of_the_previous_version_creates_stops_and_deletes_a_vm()
    {
        await using var link = await LinkHub.StartAsync();
        var identity = await link.JoinAsync("rack1");
        using var spoke = await OldSpoke.DialAsync(identity);
        await Until.TrueAsync("rack1 is online", Limit, () => link.IsOnlineAsync("rack1"));
        var key = await PayAsync(link);
        var vm = (await CreateVm.RunAsync(link.Db, VmRows.Email, new CreateVm.Input("old", "f1-xs", "tiny", [key]),
            Plain(), TimeProvider.System, Cancel)).OrThrow();
        await StateAsync(link, vm, "running");
        (await ReinstallVm.RunAsync(link.Db, VmRows.Email, VmRows.Email, new ReinstallVm.Input(vm, null, null, "old"),
            Plain(), TimeProvider.System, Cancel)).Problem!.Message.ShouldContain("too old to reinstall capsuls");
        (await RescueVm.RunAsync(link.Db, VmRows.Email, VmRows.Email, vm, Plain(), TimeProvider.System, Cancel))
            .Problem!.Message.ShouldContain("too old to rescue capsuls");
        await link.Db.ExecuteAsync("""
            UPDATE pools SET network = '203.0.113.0/28', gateway = '203.0.113.1', first = '203.0.113.2',
                last = '203.0.113.7' WHERE family = 4;
            INSERT INTO prices (size, active_from, dollars_per_month, announced)
            VALUES ('ipv4-address', now(), 2, now())
            """, null, Cancel);
        (await OrderAddress.RunAsync(
            link.Db, VmRows.Email, VmRows.Email, vm, null, Plain(), TimeProvider.System, Cancel)).Problem!.Message
            .ShouldContain("too old to give a capsul further addresses");
        foreach (var (action, state) in ((VmAction, string)[])[(VmActions.Stop, "stopped"),
            (VmActions.Start, "running"), (VmActions.Delete, "deleted")])
        {
            (await ChangeVm.RunAsync(action, link.Db, VmRows.Email, vm, Plain(), TimeProvider.System, Cancel))
                .OrThrow();
            await StateAsync(link, vm, state);
        }
        (await link.Db.AskAsync<long>("SELECT count(*) FROM addresses WHERE vm IS NOT NULL", null, Cancel))
            .ShouldBe(0);
        spoke.Failure.ShouldBeNull();
    }

    [Fact]
    public async Task A_hub_of_the_previous_version_creates_stops_and_deletes_a_vm_on_a_spoke_of_today()
    {
        await using var link = await LinkHub.StartAsync();
        await using var spoke = await TodaysSpoke.JoinAsync(link);
        await using var hub = await OldHub.StartAsync(link.Hub.Services.GetRequiredService<Authority>(), OldVersion);
        spoke.Start($"127.0.0.1:{hub.Port}");
        await Until.TrueAsync("it said hello", Limit, () => Task.FromResult(hub.Hello is not null));
        hub.Hello!.Facts.Images.ShouldHaveSingleItem().Id.ShouldBe("tiny");
        (Old.Power Power, Func<Old.VmReport, bool> Answer)[] course =
        [
            (Old.Power.On, r => r is { Power: Old.Power.On, Phase: Old.Phase.Ready }),
            (Old.Power.Off, r => r.Power == Old.Power.Off), (Old.Power.On, r => r.Phase == Old.Phase.Ready),
            (Old.Power.Gone, r => r.Power == Old.Power.Gone),
        ];
        for (var n = 0; n < course.Length; n++)
        {
            var generation = n + 1;
            hub.Want(Wanted(course[n].Power, generation, spoke.Image));
            await Until.TrueAsync($"it is {course[n].Power}", Limit, () => Task.FromResult(
                hub.Reports.Any(r => r.Generation == generation && course[n].Answer(r))));
        }
        (await spoke.Hypervisor.ListAsync(Cancel)).ShouldBeEmpty();
        hub.Connections.ShouldBe(1, "nothing that this Spoke sends ends the connection");
        hub.Beats.ShouldBeGreaterThan(0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(5)]
    public async Task A_spoke_two_versions_away_is_refused_in_words(int version)
    {
        await using var link = await LinkHub.StartAsync();
        using var spoke = await ManualSpoke.DialAsync(await link.JoinAsync("rack1"), protocol: version);
        (await spoke.RefusalAsync()).ShouldSatisfyAllConditions(
            s => s.StatusCode.ShouldBe(StatusCode.FailedPrecondition),
            s => s.Detail.ShouldBe($"This Spoke uses version {version} of the protocol and the Hub version 3; they may "
                + "differ by one. Upgrade the older of the two."));
        (await link.IsOnlineAsync("rack1")).ShouldBeFalse();
    }

    [Fact]
    public async Task A_spokes_log_says_what_to_do_about_a_hub_that_is_two_versions_away()
    {
        await using var link = await LinkHub.StartAsync();
        await using var spoke = await TodaysSpoke.JoinAsync(link);
        await using var hub = await OldHub.StartAsync(link.Hub.Services.GetRequiredService<Authority>(), version: 1);
        spoke.Start($"127.0.0.1:{hub.Port}");
        await Until.TrueAsync("the log says so", Limit, () => Task.FromResult(spoke.Log.Lines.Any(l => l.Contains(
            "This Spoke uses version 3 of the protocol and the Hub version 1; they may differ by one. Upgrade the "
            + "older of the two.", StringComparison.Ordinal))));
        Capsul.Wire.Protocol.Refusal(3, 5).ShouldEndWith("Upgrade the older of the two.");
        Capsul.Wire.Protocol.Refusal(3, 4).ShouldBeEmpty();
    }

    static Old.WantedVm Wanted(Old.Power power, long generation, Image image) => new()
    {
        Id = "capsul-previous00",
        Power = power,
        Generation = generation,
        Name = "old",
        Vcpus = 1,
        MemoryMb = 128,
        DiskGb = 1,
        ImageId = image.Id,
        ImageSha256 = image.Sha256,
        Mac = "52:54:0a:4d:00:02",
        Address = "10.77.0.2",
    };

    static Settings Plain() => Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal));

    static async Task<long> PayAsync(LinkHub link)
    {
        await link.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES (@email);
            INSERT INTO payments (email, dollars, method) VALUES (@email, 1000, 'cash');
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES (@email, 'my laptop', 'ssh-ed25519', @key, 'SHA256:x', now());
            """, new { email = VmRows.Email, key = Simulated.HostKey(new byte[Simulated.HostKeyBytes]) }, Cancel);
        return await link.Db.AskAsync<long>("SELECT id FROM ssh_keys", null, Cancel);
    }

    static Task StateAsync(LinkHub link, string vm, string state) => Until.TrueAsync($"{vm} is {state}", Limit, () =>
        link.Db.AskAsync<bool>("SELECT state = @state FROM vms WHERE id = @vm", new { vm, state }, Cancel));

    /// <summary>A Spoke of the previous version: it obeys at once, and knows nothing of tokens.</summary>
    sealed class OldSpoke : IDisposable
    {
        static readonly TimeSpan BeatEvery = TimeSpan.FromSeconds(1);

        readonly Grpc.Net.Client.GrpcChannel channel;
        readonly AsyncDuplexStreamingCall<Old.SpokeMessage, Old.HubMessage> call;
        readonly CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        readonly SemaphoreSlim writing = new(1);

        OldSpoke(Identity identity)
        {
            channel = identity.Open();
            call = new Old.HubLink.HubLinkClient(channel).Connect(cancellationToken: stop.Token);
        }

        public Exception? Failure { get; private set; }

        public static async Task<OldSpoke> DialAsync(Identity identity)
        {
            var spoke = new OldSpoke(identity);
            var hello = Old.Hello.Parser.ParseFrom(Google.Protobuf.MessageExtensions.ToByteArray(
                ManualSpoke.Hello(protocol: (int)OldVersion)));
            await spoke.SayAsync(new Old.SpokeMessage { Hello = hello });
            await spoke.SayAsync(new Old.SpokeMessage { Inventory = new Old.Inventory() });
            _ = spoke.GuardAsync(spoke.ReadAsync);
            _ = spoke.GuardAsync(spoke.BeatAsync);
            return spoke;
        }

        async Task GuardAsync(Func<Task> work)
        {
            try
            {
                await work();
            }
            catch (Exception error) when (!stop.IsCancellationRequested)
            {
                Failure = error;
            }
        }

        async Task ReadAsync()
        {
            while (await call.ResponseStream.MoveNext(stop.Token))
            {
                if (call.ResponseStream.Current.Wanted is not { } wanted) continue;
                foreach (var vm in wanted.Vms)
                {
                    await SayAsync(new Old.SpokeMessage
                    {
                        Vm = new Old.VmReport
                        {
                            Id = vm.Id,
                            Power = vm.Power,
                            Phase = vm.Power == Old.Power.On ? Old.Phase.Ready : Old.Phase.None,
                            Epoch = wanted.Epoch,
                            Generation = vm.Generation,
                            Restarts = vm.Restarts,
                        },
                    });
                }
            }
        }

        async Task BeatAsync()
        {
            while (true)
            {
                await SayAsync(new Old.SpokeMessage
                {
                    Heartbeat = new Old.Heartbeat { HypervisorAnswers = true, DiskFreeMb = 100_000 },
                });
                await Task.Delay(BeatEvery, stop.Token);
            }
        }

        async Task SayAsync(Old.SpokeMessage message)
        {
            await writing.WaitAsync(stop.Token);
            try
            {
                await call.RequestStream.WriteAsync(message, stop.Token);
            }
            finally
            {
                writing.Release();
            }
        }

        public void Dispose()
        {
            stop.Cancel();
            call.Dispose();
            channel.Dispose();
        }
    }

    /// <summary>A Hub of the previous version: it sends what the test wants, and remembers what it is told.</summary>
    sealed class OldHub : Old.HubLink.HubLinkBase, IAsyncDisposable
    {
        readonly Channel<Old.WantedVm> wants = Channel.CreateUnbounded<Old.WantedVm>();
        readonly uint version;
        WebApplication app = null!;
        int connections, beats;

        OldHub(uint version) => this.version = version;

        public int Port => new Uri(app.Urls.First()).Port;

        public Old.Hello? Hello { get; private set; }

        public ConcurrentQueue<Old.VmReport> Reports { get; } = new();

        public int Connections => connections;

        public int Beats => beats;

        public void Want(Old.WantedVm vm) => wants.Writer.TryWrite(vm);

        public static async Task<OldHub> StartAsync(Authority authority, uint version)
        {
            var hub = new OldHub(version);
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.UseKestrelHttpsConfiguration();
            var certificate = authority.MakeServerCertificate(TimeProvider.System);
            builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.UseHttps(certificate, https =>
                {
                    https.SslProtocols = SslProtocols.Tls13;
                    https.ClientCertificateMode = ClientCertificateMode.AllowCertificate;
                    https.ClientCertificateValidation = (_, _, _) => true;
                });
            }));
            builder.Services.AddGrpc();
            builder.Services.AddSingleton(hub);
            hub.app = builder.Build();
            hub.app.MapGrpcService<OldHub>();
            await hub.app.StartAsync(Cancel);
            return hub;
        }

        public override async Task Connect(IAsyncStreamReader<Old.SpokeMessage> requestStream,
            IServerStreamWriter<Old.HubMessage> responseStream, ServerCallContext context)
        {
            Interlocked.Increment(ref connections);
            await requestStream.MoveNext(context.CancellationToken);
            var hello = requestStream.Current.Hello;
            // As that version said it.
            if (Math.Abs((long)hello.Protocol - version) > 1)
                throw new RpcException(new Status(StatusCode.FailedPrecondition,
                    $"This Spoke uses version {hello.Protocol} of the protocol and the Hub version {version}; they may "
                    + "differ by one. Upgrade the older of the two."));
            Hello = hello;
            await responseStream.WriteAsync(new Old.HubMessage
            {
                Welcome = new Old.Welcome { HostId = "rack1", Epoch = 1, HeartbeatSeconds = 5 },
            });
            var reading = ReadAsync(requestStream, context.CancellationToken);
            await foreach (var vm in wants.Reader.ReadAllAsync(context.CancellationToken))
                await responseStream.WriteAsync(new Old.HubMessage
                {
                    Wanted = new Old.Wanted { Epoch = 1, Generation = vm.Generation, Vms = { vm } },
                });
            await reading;
        }

        async Task ReadAsync(IAsyncStreamReader<Old.SpokeMessage> up, CancellationToken cancel)
        {
            while (await up.MoveNext(cancel))
            {
                if (up.Current.Vm is { } report) Reports.Enqueue(report);
                if (up.Current.Heartbeat is not null) Interlocked.Increment(ref beats);
                foreach (var vm in up.Current.Inventory?.Vms ?? []) Reports.Enqueue(vm);
            }
        }

        public async ValueTask DisposeAsync()
        {
            wants.Writer.TryComplete();
            using var now = new CancellationTokenSource(TimeSpan.Zero);
            await app.StopAsync(now.Token);
            await app.DisposeAsync();
        }
    }

    /// <summary>The real Spoke over the simulated hypervisor.</summary>
    sealed class TodaysSpoke : IAsyncDisposable
    {
        readonly Settings settings;
        readonly ImageStore images;
        readonly Identity identity;
        readonly CancellationTokenSource stop = new();
        Task running = Task.CompletedTask;

        TodaysSpoke(Settings settings, ImageStore images, Identity identity, Image image)
        {
            (this.settings, this.images, this.identity, Image) = (settings, images, identity, image);
            Hypervisor = new Simulated(settings, images, TimeProvider.System) { RelaysListen = false };
        }

        public Image Image { get; }

        public Simulated Hypervisor { get; }

        public KeptLog Log { get; } = new();

        public static async Task<TodaysSpoke> JoinAsync(LinkHub link)
        {
            var folder = TestFolder.Make("today");
            var identity = await link.JoinAsync("rack1", folder);
            var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["CAPSUL_DATA"] = folder,
            });
            var images = new ImageStore(settings.Images);
            Directory.CreateDirectory(settings.Images);
            var files = images.MakeScratch();
            await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "only pretended", Cancel);
            var image = await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, Cancel);
            return new TodaysSpoke(settings, images, identity, image);
        }

        public void Start(string address)
        {
            var program = new SpokeProgram(
                settings, identity.At(address), Hypervisor, images, TimeProvider.System, Log);
            running = Task.Run(() => program.RunAsync(stop.Token));
        }

        public async ValueTask DisposeAsync()
        {
            await stop.CancelAsync();
            await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await Hypervisor.DisposeAsync();
            stop.Dispose();
        }
    }
}
