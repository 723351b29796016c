using System.Net;
using System.Net.Sockets;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Link;
using Capsul.Postgres;
using Capsul.Spoke.Link;
using Capsul.Wire;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Capsul.Tests.Support;

/// <summary>
/// A complete Hub in this process, with the test's own database and a clock that can be advanced; and simulated Spokes.
/// </summary>
public sealed class LinkHub : IAsyncDisposable
{
    readonly TestDatabase database;
    bool stopped;

    LinkHub(TestDatabase database) => this.database = database;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public HubProgram Hub { get; private set; } = null!;

    public AheadTime Time { get; } = new();

    public Db Db => database.Db;

    public string ConnectionString => database.ConnectionString;

    /// <summary>Starts; returns when it holds the seat.</summary>
    public static async Task<LinkHub> StartAsync(params (string Name, string? Value)[] changes)
    {
        var link = new LinkHub(await TestDatabase.CreateAsync());
        link.Hub = await link.StartAnotherAsync(changes);
        await Until.TrueAsync("the Hub is active", TimeSpan.FromSeconds(20), () => Task.FromResult(link.Hub.Seat.Held));
        return link;
    }

    /// <summary>One more Hub on the same database.</summary>
    public Task<HubProgram> StartAnotherAsync(params (string Name, string? Value)[] changes) =>
        HubProgram.StartAsync(Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("link"),
            ["CAPSUL_DATABASE"] = database.ConnectionString,
            ["CAPSUL_PORT"] = "0",
            ["CAPSUL_LINK_PORT"] = "0",
            // Hubs on one database share a key.
            ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
        }).With(changes), Time, logs => logs.ClearProviders(), Cancel);

    public async Task<JoinToken> InviteAsync(string host) => (await InviteHost.RunAsync(
        Hub.Db, "test", host, $"127.0.0.1:{Hub.LinkPort}", Hub.Services.GetRequiredService<Authority>().Fingerprint,
        TimeProvider.System, Cancel)).OrThrow();

    /// <summary>A machine that has joined under a name. Its images are offered, as on the Hub's own machine.</summary>
    public async Task<Identity> JoinAsync(string host, string? folder = null)
    {
        var identity = await Identity.JoinAsync(folder ?? TestFolder.Make(host), await InviteAsync(host), Cancel);
        await Hub.Db.ExecuteAsync(HostSql.MarkLocal, new { id = host }, Cancel);
        return identity;
    }

    public Task<bool> IsOnlineAsync(string host) =>
        Db.FindAsync<bool>("SELECT online FROM hosts WHERE id = @host", new { host }, Cancel);

    /// <summary>Stops the first Hub; the database stays.</summary>
    public async Task StopAsync()
    {
        if (stopped) return;
        stopped = true;
        await Hub.DisposeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        await database.DisposeAsync();
    }
}

/// <summary>The real clock with an offset.</summary>
public sealed class AheadTime : TimeProvider
{
    public TimeSpan By { get; set; }

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + By;
}

/// <summary>
/// The Spoke's end of a connection, controlled by a test, which can send anything and sees what arrives. It keeps its
/// token in the identity's folder and acknowledges wanted states, as a Spoke must.
/// </summary>
public sealed class ManualSpoke : IDisposable
{
    readonly ConnectionToken token;
    readonly Grpc.Net.Client.GrpcChannel channel;
    readonly AsyncDuplexStreamingCall<SpokeMessage, HubMessage> call;

    ManualSpoke(ConnectionToken token, Grpc.Net.Client.GrpcChannel channel) => (this.token, this.channel, call) =
        (token, channel,
            new HubLink.HubLinkClient(channel).Connect(cancellationToken: TestContext.Current.CancellationToken));

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>False: wanted states are not acknowledged.</summary>
    public bool Acknowledges { get; init; } = true;

    /// <summary>Connects and sends hello; the Hub's response has not been read yet.</summary>
    public static async Task<ManualSpoke> DialAsync(
        Identity identity, int protocol = Protocol.Version, int memoryMb = 4096, string network = "10.77.0",
        Action<HostFacts>? change = null, string runId = "", bool acknowledges = true,
        string bootId = "")
    {
        var token = new ConnectionToken(identity.Folder);
        var line = new ManualSpoke(token, identity.Open()) { Acknowledges = acknowledges && protocol >= 3 };
        var hello = Hello(memoryMb, network, protocol);
        if (protocol >= 3) (hello.RunId, hello.Token) = (runId, ByteString.CopyFrom(token.Read()));
        hello.BootId = bootId;
        change?.Invoke(hello.Facts);
        await line.SayAsync(new SpokeMessage { Hello = hello });
        return line;
    }

    /// <summary>A hello with an image and 13 addresses.</summary>
    public static Hello Hello(
        int memoryMb = 4096, string network = "10.77.0", int protocol = Protocol.Version) => new()
        {
            Protocol = (uint)protocol,
            Version = "0.0.0",
            Facts = new HostFacts
            {
                Hypervisor = "by hand",
                Cpus = 2,
                MemoryMb = memoryMb,
                DiskMb = 200_000,
                DiskFreeMb = 100_000,
                Network = new NetworkFacts
                {
                    Cidr = $"{network}.0/28",
                    Gateway = $"{network}.1",
                    First = $"{network}.2",
                    Last = $"{network}.14",
                },
                Images = { new ImageFacts { Id = "tiny", Title = "Tiny", Sha256 = VmRows.ImageSha256,
                    LoginUser = "capsul", MinDiskGb = 1, MinMemoryMb = 128 } },
            },
        };

    public async Task SayAsync(SpokeMessage message)
    {
        try
        {
            await call.RequestStream.WriteAsync(message, Cancel);
        }
        catch (Exception error) when (error is RpcException or InvalidOperationException)
        {
            // The Hub has disconnected; NextAsync reads the reason.
        }
    }

    public Task BeatAsync(string problem = "") => SayAsync(new SpokeMessage
    {
        Heartbeat = new Heartbeat { HypervisorAnswers = true, DiskFreeMb = 100_000, Problem = problem },
    });

    /// <summary>The next message; null when the Hub closed the connection without an error.</summary>
    public async Task<HubMessage?> NextAsync()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        limit.CancelAfter(Until.Patient(TimeSpan.FromSeconds(30)));
        if (!await call.ResponseStream.MoveNext(limit.Token)) return null;
        var message = call.ResponseStream.Current;
        if (message.Welcome is { Token.Length: > 0 } welcome)
            await token.TryStoreAsync(welcome.Token.ToByteArray(), Cancel);
        if (message.Wanted is { } wanted && Acknowledges)
            await SayAsync(new SpokeMessage
            {
                Applied = new Applied { Epoch = wanted.Epoch, Generation = wanted.Generation, TokenStored = true },
            });
        return message;
    }

    /// <summary>The first message of this kind.</summary>
    public async Task<HubMessage> NextAsync(HubMessage.BodyOneofCase kind)
    {
        while (true)
        {
            var next = await NextAsync() ?? throw new InvalidOperationException("The Hub disconnected.");
            if (next.BodyCase == kind) return next;
        }
    }

    /// <summary>Reads until the Hub refuses, and returns its error.</summary>
    public async Task<Status> RefusalAsync()
    {
        try
        {
            while (await NextAsync() is not null) { }
            throw new InvalidOperationException("The Hub disconnected without an error.");
        }
        catch (RpcException error)
        {
            return error.Status;
        }
    }

    /// <summary>Reads until the Hub refuses, and returns its trailers.</summary>
    public async Task<Metadata> RefusalTrailersAsync() =>
        (await Should.ThrowAsync<RpcException>(async () =>
        {
            while (await NextAsync() is not null) { }
        })).Trailers;

    public void Dispose()
    {
        call.Dispose();
        channel.Dispose();
    }
}

/// <summary>One address behind which the server may change, as with a load balancer.</summary>
public sealed class Crossing : IAsyncDisposable
{
    readonly TcpListener listener = new(IPAddress.Loopback, 0);
    readonly CancellationTokenSource stop = new();
    readonly Task accepting;
    volatile bool frozen;
    int target;

    public Crossing(int target)
    {
        this.target = target;
        listener.Start();
        accepting = AcceptAsync();
    }

    public int Port => ((IPEndPoint)listener.LocalEndpoint).Port;

    /// <summary>Sends new connections there from now on.</summary>
    public void LeadTo(int port) => Interlocked.Exchange(ref target, port);

    /// <summary>From now on nothing passes, nor does either end learn that the other has closed.</summary>
    public void Freeze() => frozen = true;

    async Task AcceptAsync()
    {
        try
        {
            while (true) _ = CarryAsync(await listener.AcceptTcpClientAsync(stop.Token));
        }
        catch (OperationCanceledException)
        {
            // Closed.
        }
    }

    async Task CarryAsync(TcpClient client)
    {
        using var near = client;
        using var far = new TcpClient();
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
        try
        {
            await far.ConnectAsync(IPAddress.Loopback, target, both.Token);
            await Task.WhenAny(PassAsync(near.GetStream(), far.GetStream(), both.Token),
                PassAsync(far.GetStream(), near.GetStream(), both.Token));
            await both.CancelAsync();
        }
        catch (Exception error) when (error is SocketException or IOException or OperationCanceledException)
        {
            // One of the two ends has closed, which closes this connection.
        }
    }

    async Task PassAsync(NetworkStream from, NetworkStream to, CancellationToken cancel)
    {
        var buffer = new byte[64 << 10];
        int read;
        do
        {
            read = await from.ReadAsync(buffer, cancel);
            if (frozen) await Task.Delay(Timeout.InfiniteTimeSpan, cancel);
            await to.WriteAsync(buffer.AsMemory(0, read), cancel);
        }
        while (read > 0);
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await accepting;
        listener.Dispose();
        stop.Dispose();
    }
}
