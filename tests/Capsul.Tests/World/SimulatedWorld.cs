using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Postgres;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Link;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.World;

/// <summary>
/// A real Hub and a real Spoke over real TLS and a real database, with the simulated hypervisor underneath; either can be taken away at any
/// moment and comes back on what is on disk.
/// </summary>
sealed class SimulatedWorld : IAsyncDisposable
{
    public const string Email = "ada@example.org";

    readonly TestDatabase database;
    readonly CancellationTokenSource stop = new();
    CancellationTokenSource spokeStop = new();
    Task spoke = Task.CompletedTask;
    HubProgram? hub;

    SimulatedWorld(TestDatabase database, Settings settings)
    {
        (this.database, Settings) = (database, settings);
        Hypervisor = new Simulated(settings, new ImageStore(settings.Images), TimeProvider.System) { BootTime = TimeSpan.FromMilliseconds(50) };
    }

    public Settings Settings { get; }

    public Simulated Hypervisor { get; }

    public Db Db => database.Db;

    public HubProgram Hub => hub ?? throw new InvalidOperationException("The Hub is down.");

    public static async Task<SimulatedWorld> StartAsync(CancellationToken cancel)
    {
        var database = await TestDatabase.CreateAsync();
        var folder = TestFolder.Make("world");
        var settings = Settings.Load(new Dictionary<string, string>
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_DATABASE"] = database.ConnectionString,
            ["CAPSUL_HYPERVISOR"] = "simulated",
            ["CAPSUL_ENVIRONMENT"] = "development",
            ["CAPSUL_PORT"] = Ports.TakeFree().ToString(),
            ["CAPSUL_LINK_PORT"] = Ports.TakeFree().ToString(),
            ["CAPSUL_RELAY_PORTS"] = "24000-24999",
            ["CAPSUL_MAX_VMS"] = "1000",
        });
        await AddImageAsync(settings.Images, cancel);
        var world = new SimulatedWorld(database, settings);
        await database.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES (@email);
            INSERT INTO payments (email, dollars, method) VALUES (@email, 1000, 'cash');
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created) VALUES (@email, 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', now());
            """, new { email = Email }, cancel);
        await world.StartHubAsync(cancel);
        await Identity.JoinAsync(folder, (await world.Hub.InviteAsync("test", "rack1", cancel)).OrThrow(), cancel);
        world.StartSpoke();
        await world.UntilAsync(async () => await world.Db.FindAsync<bool>("SELECT EXISTS (SELECT FROM hosts h JOIN host_images i ON i.host = h.id WHERE h.online)", null, cancel), "the host is online", cancel);
        return world;
    }

    /// <summary>An image that nothing real boots: the simulated hypervisor only wants it to be there.</summary>
    static async Task AddImageAsync(string folder, CancellationToken cancel)
    {
        var store = new ImageStore(folder);
        Directory.CreateDirectory(folder);
        var files = store.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "not a disk", cancel);
        await store.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, cancel);
    }

    public async Task StartHubAsync(CancellationToken cancel) =>
        hub = await HubProgram.StartAsync(Settings, TimeProvider.System, logs => logs.SetMinimumLevel(LogLevel.None), cancel);

    public async Task StopHubAsync()
    {
        if (hub is not null) await hub.DisposeAsync();
        hub = null;
    }

    public void StartSpoke()
    {
        spokeStop = CancellationTokenSource.CreateLinkedTokenSource(stop.Token);
        spoke = new SpokeProgram(Settings, Identity.Load(Settings.Data)!, Hypervisor, new ImageStore(Settings.Images), TimeProvider.System, NullLoggerFactory.Instance)
            .RunAsync(spokeStop.Token);
    }

    public async Task StopSpokeAsync()
    {
        await spokeStop.CancelAsync();
        await spoke.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Looks until it holds; says what did not after a minute.</summary>
    public async Task UntilAsync(Func<Task<bool>> holds, string what, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(TimeSpan.FromMinutes(1));
        while (!await holds())
        {
            if (spoke.IsFaulted) await spoke;
            if (limit.IsCancellationRequested) throw new TimeoutException($"After a minute it still did not hold that {what}.");
            await Task.Delay(TimeSpan.FromMilliseconds(50), CancellationToken.None);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await StopSpokeAsync();
        await StopHubAsync();
        await Hypervisor.DisposeAsync();
        await database.DisposeAsync();
        stop.Dispose();
    }
}
