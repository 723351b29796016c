using System.Text;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Hub.Features.Rebuilds;
using Capsul.Hub.Features.SshKeys;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
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
/// The database is lost and there is no backup: two hosts with three VMs of two accounts. First one host is away; later
/// it comes back.
/// </summary>
public sealed class RebuildTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>What customers and operators must find again.</summary>
    const string Facts = """
        SELECT v.id, v.email, v.name, v.size, v.image, v.image_sha256, v.login_user, v.host, v.created::text,
            v.dollars_per_month::text, v.vcpus, v.memory_mb, v.disk_gb, v.state, v.wanted, host(a.address), a.mac::text,
            (SELECT string_agg(k.name || ' ' || k.type || ' ' || k.key, '|') FROM vm_ssh_keys k WHERE k.vm = v.id),
            (SELECT string_agg(k.name || ' ' || k.fingerprint, '|') FROM ssh_keys k WHERE k.email = v.email)
        FROM vms v JOIN addresses a ON a.vm = v.id WHERE v.host = ANY(@hosts) ORDER BY v.id
        """;

    static async Task<IReadOnlyList<string>> FactsAsync(Db db, params string[] hosts) => await db.ListAsync<string>(
        $"SELECT f::text FROM ({Facts}) AS f", new { hosts }, Cancel);

    [Fact]
    public async Task A_lost_database_gets_its_vms_back_from_the_spokes_also_from_one_that_comes_later()
    {
        var data = TestFolder.Make("lost");
        await using var link = await LinkHub.StartAsync(("CAPSUL_DATA", data));
        await using var crossing = new Crossing(link.Hub.LinkPort);
        await using var one = await Machine.JoinAsync(link, "rack1", crossing.Port);
        await using var two = await Machine.JoinAsync(link, "rack2", crossing.Port);
        Machine[] machines = [one, two];
        await FillAsync(link, machines);
        var before = await FactsAsync(link.Db, "rack1", "rack2");
        var onFirst = await FactsAsync(link.Db, "rack1");
        before.Count.ShouldBe(3);
        onFirst.Count.ShouldBeInRange(1, 2, "both hosts have VMs");
        var disks = machines.Sum(m => m.Hypervisor.DisksMade.Values.Sum());

        await two.StopAsync();
        await (await RecoveryCopy.ReadAsync(link.Db, RingOf(link.Db), Cancel))
            .SaveAsync(In(data), TimeProvider.System, Cancel);
        await link.DisposeAsync();

        await using var database = await TestDatabase.CreateEmptyAsync();
        var environment = EnvironmentOf(data, database.ConnectionString);
        (await CapsulProgram.RunAsync(environment, Cancel, "hub", "status")).ShouldSatisfyAllConditions(
            r => r.ExitCode.ShouldNotBe(0), r => r.Error.ShouldContain("capsul hub rebuild --from-spokes"));
        await VerbAsync(environment, "--from-spokes", "--wait", "0");
        await using var hub = await StartHubAsync(environment);
        crossing.LeadTo(hub.LinkPort);
        await Until.TrueAsync("rack1 was taken in", Limit, () => IsTakenInAsync(database.Db, "rack1"));
        (await AllAreOnAsync(machines)).ShouldBeTrue();
        (await FactsAsync(database.Db, "rack1", "rack2")).ShouldBe(onFirst);
        (await database.Db.AskAsync<bool>("SELECT bool_or(online) FROM hosts", null, Cancel))
            .ShouldBeFalse("it is not used before the rebuild is finished");
        (await VerbAsync(environment, "--finish")).ShouldContain("rack2");
        await ObservedAsync(database.Db, onFirst.Count);

        two.Start();
        using (var refused = await ManualSpoke.DialAsync(two.Identity))
            (await refused.RefusalAsync()).Detail.ShouldContain("capsul hub rebuild --from-spokes");
        await VerbAsync(environment, "--from-spokes", "--wait", "60", "--finish");
        await ObservedAsync(database.Db, before.Count);
        (await FactsAsync(database.Db, "rack1", "rack2")).ShouldBe(before);
        (await AllAreOnAsync(machines)).ShouldBeTrue();
        machines.Sum(m => m.Hypervisor.DisksMade.Values.Sum()).ShouldBe(disks, "no disk was made again");
        (await database.Db.AskAsync<bool>("SELECT bool_and(has_run) AND min(observed_generation) > 0 FROM vms",
            null, Cancel)).ShouldBeTrue();
    }

    /// <summary>Two accounts with three VMs, all running, with their records on their Spokes.</summary>
    static async Task FillAsync(LinkHub link, Machine[] machines)
    {
        foreach (var machine in machines)
        {
            machine.Start();
            await Until.TrueAsync($"{machine.Name} is online", Limit, () => link.IsOnlineAsync(machine.Name));
        }
        (string Email, string Name)[] vms =
            [("ada@example.org", "web"), ("ada@example.org", "db"), ("bob@example.org", "web")];
        foreach (var (email, name) in vms)
        {
            await link.Db.ExecuteAsync(
                """
                INSERT INTO accounts (email) VALUES (@email) ON CONFLICT DO NOTHING;
                INSERT INTO payments (email, dollars, method) VALUES (@email, 100, 'cash');
                """, new { email }, Cancel);
            var key = await AddKeyAsync(link.Db, email);
            (await CreateVm.RunAsync(link.Db, email, new CreateVm.Input(name, "f1-xs", "tiny", [key]),
                In(TestFolder.Make("none")), TimeProvider.System, Cancel)).OrThrow();
        }
        await ObservedAsync(link.Db, vms.Length);
        await Until.TrueAsync("every VM has its record", Limit, () => Task.FromResult(
            machines.Sum(m => Directory.GetFiles(m.Records, "capsul-*.record").Length) == vms.Length));
    }

    /// <summary>A valid key, the same for the same account.</summary>
    static async Task<long> AddKeyAsync(Db db, string email)
    {
        var blob = Simulated.HostKey(Encoding.ASCII.GetBytes(email.PadRight(Simulated.HostKeyBytes)));
        var key = SshKey.Parse($"ssh-ed25519 {blob}").OrThrow();
        await db.ExecuteAsync(
            """
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES (@email, 'my laptop', @type, @key, @fingerprint, now()) ON CONFLICT DO NOTHING
            """, new { email, type = key.Type, key = key.Key, fingerprint = key.Fingerprint }, Cancel);
        return await db.AskAsync<long>("SELECT id FROM ssh_keys WHERE email = @email", new { email }, Cancel);
    }

    /// <summary>All are observed running, and charged at their price.</summary>
    static Task ObservedAsync(Db db, int count) => Until.TrueAsync($"{count} VMs run and are charged", Limit, () =>
        db.AskAsync<bool>("""
            SELECT count(*) = @count FROM vms v JOIN usage_spans u ON u.vm = v.id AND upper_inf(u.span)
                AND u.dollars_per_month = v.dollars_per_month AND u.email = v.email
            WHERE v.state = 'running' AND v.observed = 'on' AND v.phase = 6
            """, new { count }, Cancel));

    static async Task<bool> AllAreOnAsync(Machine[] machines)
    {
        foreach (var machine in machines)
            if ((await machine.Hypervisor.ListAsync(Cancel)).Any(d => d.Power != DomainPower.On)) return false;
        return true;
    }

    static Task<bool> IsTakenInAsync(Db db, string host) =>
        db.AskAsync<bool>(RebuildSql.IsRebuilding, new { host }, Cancel);

    static async Task<string> VerbAsync(Dictionary<string, string> environment, params string[] options)
    {
        var result = await CapsulProgram.RunAsync(environment, Cancel, ["hub", "rebuild", .. options]);
        result.ExitCode.ShouldBe(0, result.Output + result.Error);
        return result.Output;
    }

    static KeyRing RingOf(Db db) => new(db, new byte[32]);

    static Settings In(string data) =>
        Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = data });

    static Dictionary<string, string> EnvironmentOf(string data, string connection) => new(StringComparer.Ordinal)
    {
        ["CAPSUL_DATA"] = data,
        ["CAPSUL_DATABASE"] = connection,
        ["CAPSUL_SECRET_KEY"] = Convert.ToBase64String(new byte[32]),
        ["CAPSUL_PORT"] = "0",
        ["CAPSUL_LINK_PORT"] = "0",
    };

    /// <summary>As the operator starts it between opening and finishing.</summary>
    static async Task<HubProgram> StartHubAsync(Dictionary<string, string> environment)
    {
        var hub = await HubProgram.StartAsync(
            Settings.Load(environment), TimeProvider.System, logs => logs.ClearProviders(), Cancel);
        await Until.TrueAsync("the Hub is active", Limit, () => Task.FromResult(hub.Seat.Held));
        return hub;
    }

    /// <summary>A machine with a real Spoke over a simulated hypervisor, which outlives the Spoke.</summary>
    sealed class Machine : IAsyncDisposable
    {
        readonly Settings settings;
        readonly ImageStore images;
        CancellationTokenSource stop = new();
        Task running = Task.CompletedTask;

        Machine(Settings settings, ImageStore images, Identity identity)
        {
            (this.settings, this.images, Identity) = (settings, images, identity);
            Hypervisor = new Simulated(settings, images, TimeProvider.System) { RelaysListen = false };
        }

        public Identity Identity { get; }

        public string Name => Identity.HostId;

        public Simulated Hypervisor { get; }

        public string Records => Path.Combine(settings.Data, "spoke", "vms");

        public static async Task<Machine> JoinAsync(LinkHub link, string name, int port)
        {
            var data = TestFolder.Make(name);
            var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["CAPSUL_DATA"] = data,
                ["CAPSUL_HYPERVISOR"] = "simulated",
            });
            var images = new ImageStore(settings.Images);
            Directory.CreateDirectory(settings.Images);
            var files = images.MakeScratch();
            await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "only pretended", Cancel);
            await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, Cancel);
            var identity = await link.JoinAsync(name, data);
            return new Machine(settings, images, identity.At($"127.0.0.1:{port}"));
        }

        public void Start()
        {
            stop.Dispose();
            stop = new CancellationTokenSource();
            running = new SpokeProgram(settings, Identity, Hypervisor, images, TimeProvider.System,
                NullLoggerFactory.Instance).RunAsync(stop.Token);
        }

        public async Task StopAsync()
        {
            await stop.CancelAsync();
            await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        public async ValueTask DisposeAsync()
        {
            await StopAsync();
            stop.Dispose();
            await Hypervisor.DisposeAsync();
        }
    }
}
