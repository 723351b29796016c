using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Tests.Spoke.Hypervisor;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;
using Person = Capsul.Demo.Visitor;

namespace Capsul.Tests.Support;

/// <summary>
/// The collection of tests with real worlds; they run one after another, because guests are slow without KVM, and
/// beside those that share one sandbox.
/// </summary>
[CollectionDefinition(nameof(RealWorld))]
public sealed class RealWorldCollection;

/// <summary>
/// A Hub and a Spoke as two processes of the built program, each with its own data folder, real libvirt and real
/// guests. Tests use the web pages and ssh; leftovers are checked internally. Everything is removed afterwards.
/// </summary>
public sealed class RealWorld : IAsyncDisposable
{
    public const string Email = "newcomer@example.org";

    public static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60),
        RunLimit = TimeSpan.FromSeconds(120), EndLimit = TimeSpan.FromSeconds(60);

    static int count;

    readonly Dictionary<string, string> common;
    readonly string spokeFolder;
    readonly List<Dictionary<string, string>> others = [];
    readonly List<CapsulProgram> otherSpokes = [];
    readonly string linkPort = Ports.TakeFree().ToString();
    TestDatabase? database;

    RealWorld(Dictionary<string, string> common, string spokeFolder) =>
        (this.common, this.spokeFolder) = (common, spokeFolder);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public CapsulProgram? Hub { get; private set; }

    public CapsulProgram? Spoke { get; private set; }

    public Uri Address { get; } = new($"http://127.0.0.1:{Ports.TakeFree()}/");

    public FrontDoor Door { get; private set; } = null!;

    public Person Person { get; private set; } = null!;

    /// <summary>The Hub's database, for reading only.</summary>
    public Db Db { get; private set; } = null!;

    public Dictionary<string, string> HubEnvironment { get; private set; } = null!;

    public Dictionary<string, string> SpokeEnvironment { get; private set; } = null!;

    public Settings SpokeSettings => Settings.Load(SpokeEnvironment);

    /// <summary>Twenty that no other world of this run uses, and probably none of another run.</summary>
    static string NextPorts()
    {
        var first = 23_000 + 20 * ((Environment.ProcessId * 7 + Interlocked.Increment(ref count)) % 400);
        return $"{first}-{first + 19}";
    }

    /// <summary>Prepares folders and environments; starts nothing.</summary>
    /// <param name="spokeFolder">Data folder of the Spoke; null: a new one.</param>
    /// <param name="ownDatabase">The Hub runs a private cluster, as on a real machine; otherwise it uses a test
    /// database.</param>
    public static async Task<RealWorld> PrepareAsync(
        bool ownDatabase, string? spokeFolder, params (string Name, string Value)[] changes)
    {
        var common = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_ENVIRONMENT"] = "development",
            ["CAPSUL_IMAGES"] = RealHypervisor.ImageFolder,
            ["CAPSUL_KVM"] = "off",
            ["CAPSUL_POSTGRES_FSYNC"] = "off",
            ["CAPSUL_RELAY_PORTS"] = NextPorts(),
        };
        foreach (var (name, value) in changes) common[name] = value;
        await RealHypervisor.TinyAsync(new ImageStore(RealHypervisor.ImageFolder), Cancel);
        var world = new RealWorld(common, spokeFolder ?? TestFolder.Make("spoke"));
        world.HubEnvironment = new(common, StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("hub"),
            ["CAPSUL_PORT"] = world.Address.Port.ToString(),
            ["CAPSUL_LINK_PORT"] = world.linkPort,
        };
        world.SpokeEnvironment = new(common, StringComparer.Ordinal) { ["CAPSUL_DATA"] = world.spokeFolder };
        if (!ownDatabase)
        {
            world.database = await TestDatabase.CreateAsync();
            world.HubEnvironment["CAPSUL_DATABASE"] = world.database.ConnectionString;
        }
        return world;
    }

    /// <summary>
    /// Hub and Spoke are running and connected; a person has signed in, with a key and 20 dollars; the tiny image is
    /// offered.
    /// </summary>
    public static async Task<RealWorld> StartAsync(
        bool ownDatabase = false, string? spokeFolder = null, params (string Name, string Value)[] changes)
    {
        var world = await PrepareAsync(ownDatabase, spokeFolder, changes);
        try
        {
            await world.StartHubAsync();
            await world.JoinAsync("rack1");
            world.StartSpoke();
            await world.MeetAsync();
            return world;
        }
        catch
        {
            await world.DisposeAsync();
            throw;
        }
    }

    public async Task StartHubAsync()
    {
        Hub = CapsulProgram.Start(HubEnvironment, "up", "--hub");
        await Hub.AwaitSaidAsync("Capsul is running at", StartLimit);
        if (Db is not null) return;
        // A private cluster stops with its Hub, which breaks old connections: without a pool.
        Db = new Db(database?.ConnectionString
            ?? new NpgsqlConnectionStringBuilder(await OwnDatabaseAsync()) { Pooling = false }.ConnectionString);
        Door = new FrontDoor(Address);
        Person = new Person(Door, TestFolder.Make("person"));
    }

    /// <summary>Address of the Hub's private cluster, without registering as one of its users.</summary>
    async Task<string> OwnDatabaseAsync()
    {
        var (server, connection) =
            await EmbeddedPostgres.StartAsync(Settings.Load(HubEnvironment), NullLogger.Instance, Cancel);
        await server.StopAsync(Cancel);
        return connection;
    }

    /// <summary>As an operator does it: copies a token from the Hub to the host.</summary>
    public Task JoinAsync(string host) => JoinAsync(host, SpokeEnvironment);

    async Task JoinAsync(string host, Dictionary<string, string> environment)
    {
        var invited = await CapsulProgram.RunAsync(HubEnvironment, Cancel, "host", "invite", host);
        invited.ExitCode.ShouldBe(0, invited.Error);
        var joined = await CapsulProgram.RunAsync(environment, Cancel, "spoke", "join", invited.Output.Trim());
        joined.ExitCode.ShouldBe(0, joined.Error);
    }

    /// <summary>Another host on this machine, with its own data folder, sandbox and relay ports; returns that
    /// folder.</summary>
    public async Task<string> AddHostAsync(string host)
    {
        var environment = new Dictionary<string, string>(common, StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("spoke"),
            ["CAPSUL_RELAY_PORTS"] = NextPorts(),
        };
        others.Add(environment);
        await JoinAsync(host, environment);
        var spoke = CapsulProgram.Start(environment, "up", "--spoke");
        otherSpokes.Add(spoke);
        await Until.TrueAsync($"{host} is online; its Spoke's output:\n{spoke.Said}", StartLimit, async () =>
            spoke.HasExited ? throw new InvalidOperationException(spoke.Said)
            : await Db.FindAsync<bool>(
                "SELECT EXISTS (SELECT FROM hosts WHERE id = @host AND online)", new { host }, Cancel));
        return environment["CAPSUL_DATA"];
    }

    /// <summary>What the Spokes of other hosts have said.</summary>
    public string OthersSaid => string.Join('\n', otherSpokes.Select(s => s.Said));

    public void StartSpoke() => Spoke = CapsulProgram.Start(SpokeEnvironment, "up", "--spoke");

    async Task MeetAsync()
    {
        await Door.SignInAsync(Email, Cancel);
        await Person.AddKeyAsync(Cancel);
        await Person.TopUpAsync("20", Cancel);
        await AwaitImageAsync(TinyImage.Id);
    }

    /// <summary>Offers a host's image, like an operator.</summary>
    public async Task AwaitImageAsync(string image)
    {
        await Until.TrueAsync($"a host has {image}; the Spoke's output:\n{Spoke!.Said}", StartLimit, async () =>
            Spoke.HasExited ? throw new InvalidOperationException(Spoke.Said)
            : await Db.FindAsync<bool>(
                "SELECT EXISTS (SELECT FROM host_images WHERE image = @image)", new { image }, Cancel));
        var host = await Db.FindAsync<string>(
            "SELECT min(host) FROM host_images WHERE image = @image", new { image }, Cancel);
        var offered = await CapsulProgram.RunAsync(HubEnvironment, Cancel, "image", "offer", image, "--host", host!);
        offered.ExitCode.ShouldBe(0, offered.Error);
        await AwaitOfferAsync(image);
    }

    Task AwaitOfferAsync(string image) =>
        Until.TrueAsync($"the form offers {image}; the Spoke's output:\n{Spoke!.Said}", StartLimit, async () =>
            Spoke.HasExited ? throw new InvalidOperationException(Spoke.Said)
            : (await Door.PageAsync("/vms/new", Cancel)).Contains($"value=\"{image}\"", StringComparison.Ordinal)
                && await Db.FindAsync<bool>("SELECT EXISTS (SELECT FROM hosts WHERE online)", null, Cancel));

    /// <summary>A running tiny VM that its owner can log in to.</summary>
    public async Task<(string Id, SshAddress Ssh)> MakeVmAsync()
    {
        var id = await Person.CreateAsync("f1-xs", TinyImage.Id, "tiny", Cancel);
        return (id, await AwaitRunningAsync(id));
    }

    public async Task<SshAddress> AwaitRunningAsync(string id)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        limit.CancelAfter(Until.Patient(RunLimit));
        try
        {
            return await Person.AwaitRunningAsync(id, _ => { }, limit.Token);
        }
        catch (OperationCanceledException error) when (!Cancel.IsCancellationRequested)
        {
            throw new TimeoutException(
                $"{id} is not running after {Until.Patient(RunLimit).TotalSeconds:0} s.\n{Said}", error);
        }
    }

    /// <summary>For the message of a failed wait.</summary>
    string Said => $"The Hub says:\n{Hub?.Said}\nThe Spoke says:\n{Spoke?.Said}";

    /// <summary>One value of the VM's row.</summary>
    public Task<string?> ColumnAsync(string id, string column) =>
        Db.FindAsync<string>($"SELECT ({column})::text FROM vms WHERE id = @id", new { id }, Cancel);

    public Task AwaitColumnAsync(string id, string column, string value, TimeSpan limit) =>
        Until.TrueAsync($"{column} of {id} is {value}", limit, async () => await ColumnAsync(id, column) == value,
            async () => $"It is {await ColumnAsync(id, column)}.\n{Said}");

    public async Task<bool> IsChargedAsync(string id) =>
        await Db.FindAsync<bool>(
            "SELECT EXISTS (SELECT FROM usage_spans WHERE vm = @id AND upper_inf(span))", new { id }, Cancel);

    /// <summary>Whether it was ever charged.</summary>
    public async Task<bool> WasChargedAsync(string id) =>
        await Db.FindAsync<bool>("SELECT EXISTS (SELECT FROM usage_spans WHERE vm = @id)", new { id }, Cancel);

    /// <summary>
    /// Asserts that neither the Hub nor the host has anything left of a VM: address, open usage span, domain, disk,
    /// DHCP entry, record, QEMU, relay port.
    /// </summary>
    public async Task ShouldBeGoneAsync(string id, int relayPort = 0)
    {
        (await Db.FindAsync<int>("SELECT count(*)::integer FROM addresses WHERE vm = @id", new { id }, Cancel))
            .ShouldBe(0, "its address is still in use");
        (await IsChargedAsync(id)).ShouldBeFalse("it is still charged");
        (await VirshAsync("list", "--all", "--name")).ShouldNotContain(id);
        (await VirshAsync("vol-list", "capsul")).ShouldNotContain(id);
        (await VirshAsync("net-dumpxml", "capsul")).ShouldNotContain(id);
        Directory.EnumerateFileSystemEntries(Path.Combine(spokeFolder, "spoke"), $"*{id}*", SearchOption.AllDirectories)
            .ShouldBeEmpty();
        Qemus(id).ShouldBeEmpty();
        if (relayPort > 0) (await Until.AnswersAsync(relayPort)).ShouldBeFalse("its relay still listens");
    }

    /// <summary>QEMU processes of a VM, as seen by the machine.</summary>
    public static IReadOnlyList<int> Qemus(string id) =>
        [.. Directory.GetDirectories("/proc").Select(Path.GetFileName).Where(n => int.TryParse(n, out _))
            .Where(n => ReadCommandLine(n!) is var line && line.Contains("qemu-system", StringComparison.Ordinal)
                && line.Contains(id, StringComparison.Ordinal))
            .Select(n => int.Parse(n!))];

    static string ReadCommandLine(string pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline");
        }
        catch (IOException)
        {
            return ""; // It exited meanwhile.
        }
    }

    public async Task<string> VirshAsync(params string[] arguments)
    {
        using var sandbox = await OpenSandboxAsync();
        return (await new Command("virsh", ["-q", "-c", sandbox.Uri, .. arguments]).RunAsync(Cancel)).Output;
    }

    /// <summary>Connects to libvirtd in the Spoke's sandbox.</summary>
    public async Task SignalLibvirtdAsync(string signal)
    {
        using var sandbox = await OpenSandboxAsync();
        var pid = (await File.ReadAllTextAsync(Path.Combine(Sandbox.RunFolder(SpokeSettings), "libvirtd.pid"), Cancel))
            .Trim();
        await sandbox.Inside("kill", signal, pid).RunAsync(Cancel);
    }

    Task<Sandbox> OpenSandboxAsync() =>
        Sandbox.OpenAsync(SpokeSettings, kvm: false, TimeProvider.System, NullLogger.Instance, Cancel);

    public async ValueTask DisposeAsync()
    {
        Door?.Dispose();
        if (Spoke is not null) await Spoke.DisposeAsync();
        foreach (var spoke in otherSpokes) await spoke.DisposeAsync();
        if (Hub is not null) await Hub.DisposeAsync();
        if (Db is not null) await Db.DisposeAsync();
        await Sandbox.StopAsync(SpokeSettings, TimeProvider.System, CancellationToken.None);
        foreach (var host in others)
            await Sandbox.StopAsync(Settings.Load(host), TimeProvider.System, CancellationToken.None);
        if (database is not null)
        {
            await database.DisposeAsync();
        }
        else if (File.Exists(Path.Combine(HubEnvironment["CAPSUL_DATA"], "postgres", "data", "PG_VERSION")))
        {
            var (server, _) = await EmbeddedPostgres.StartAsync(
                Settings.Load(HubEnvironment), NullLogger.Instance, CancellationToken.None);
            await server.StopAsync(CancellationToken.None);
        }
    }
}
