using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Link;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Support;

/// <summary>
/// A database with one account, one host with two addresses and one image, a clock, and the runner of a Hub that holds
/// the seat. Tests supply the Spoke's reports, so that each test decides what the Spoke did and when.
/// </summary>
public sealed class VmRows : IAsyncDisposable
{
    public const string Email = "ada@example.org", Host = "rack1", Target = "rack2",
        ImageSha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    readonly TestDatabase database;

    VmRows(TestDatabase database)
    {
        this.database = database;
        var listener = new Listener(Db, Time, NullLogger<Listener>.Instance);
        Fence = new Fence(Db, listener);
        Runner = new Runner(Db, Fence, listener, AllKinds(), Time, NullLogger<Runner>.Instance);
    }

    public Db Db => database.Db;

    public string ConnectionString => database.ConnectionString;

    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero));

    public DateTime Now => Time.GetUtcNow().UtcDateTime;

    public Fence Fence { get; }

    public Runner Runner { get; }

    /// <summary>The epoch in force.</summary>
    public long Epoch { get; private set; }

    public Settings Settings { get; } =
        Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = "/tmp/capsul-none" });

    public static IReadOnlyList<OperationKind> AllKinds() => VmFeature.Operations;

    public static async Task<VmRows> CreateAsync(CancellationToken cancel)
    {
        var rows = new VmRows(await TestDatabase.CreateAsync());
        await rows.Db.ExecuteAsync(
            """
            INSERT INTO accounts (email) VALUES (@email);
            INSERT INTO payments (email, dollars, method) VALUES (@email, 100, 'cash');
            INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
            VALUES (@email, 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', @now);
            INSERT INTO hosts (id, state, online, memory_mb, disk_free_mb, last_seen)
            VALUES (@host, 'joined', TRUE, 4096, 100000, @now);
            INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
            VALUES ('tiny', 'Tiny', 'capsul', 1, 128);
            INSERT INTO host_images (host, image, sha256) VALUES (@host, 'tiny', @sha);
            INSERT INTO addresses (host, address, mac)
            VALUES (@host, '10.77.0.2', '52:54:0a:4d:00:02'), (@host, '10.77.0.3', '52:54:0a:4d:00:03');
            INSERT INTO pools (host, family, network, gateway, first, last)
            VALUES (@host, 4, '10.77.0.0/29', '10.77.0.1', '10.77.0.2', '10.77.0.3');
            """, new { email = Email, host = Host, sha = ImageSha256, now = rows.Now }, cancel);
        await rows.TakeSeatAsync(cancel);
        return rows;
    }

    /// <summary>Another Hub process takes over.</summary>
    public async Task TakeSeatAsync(CancellationToken cancel) =>
        Epoch = await Db.FindAsync<long>(
            "UPDATE seat SET epoch = epoch + 1, holder = 'test' RETURNING epoch", null, cancel);

    public async Task<string> NewVmAsync(CancellationToken cancel, string size = "f1-xs") =>
        (await TryNewVmAsync(cancel, size)).OrThrow();

    public async Task<Outcome<string>> TryNewVmAsync(CancellationToken cancel,
        string size = "f1-xs", string image = "tiny", string? name = null, long[]? keys = null,
        string email = Email)
    {
        keys ??= [await Db.FindAsync<long>("SELECT id FROM ssh_keys WHERE email = @email", new { email }, cancel)];
        return await CreateVm.RunAsync(Db, email, new CreateVm.Input(name, size, image, keys), Settings, Time, cancel);
    }

    /// <summary>A running VM, with its create operation done.</summary>
    public async Task<string> RunningVmAsync(CancellationToken cancel)
    {
        var id = await NewVmAsync(cancel);
        await ReportAsync(id, Power.On, Phase.Ready, cancel);
        await SettleAsync(cancel);
        (await FindAsync(id, cancel)).State.ShouldBe("running");
        return id;
    }

    /// <summary>A VM that is being made of a foreign machine of the host.</summary>
    public async Task<string> AdoptAsync(
        CancellationToken cancel, string name = "legacy", int diskGb = 1, string refusal = "", string? host = null)
    {
        await AddForeignAsync(name, cancel, diskGb, refusal);
        return (await TryAdoptAsync(cancel, name, host)).OrThrow();
    }

    public Task<Outcome<string>> TryAdoptAsync(
        CancellationToken cancel, string name = "legacy", string? host = null, string size = "f1-xs") =>
        AdoptVm.RunAsync(Db, "test",
            new AdoptVm.Input(host ?? Host, name, Email, size, null, "it moves"), Settings, Time, cancel);

    public Task AddForeignAsync(string name, CancellationToken cancel, int diskGb = 1, string refusal = "") =>
        Db.ExecuteAsync(
            """
            INSERT INTO foreign_machines
            VALUES ('rack1', gen_random_uuid()::text, @name, 'on', 1, 512, @diskGb, 'qcow2', '52:54:00:00:00:07',
                @refusal)
            ON CONFLICT DO NOTHING
            """, new { name, diskGb, refusal }, cancel);

    /// <summary>Requests an action of the table, as the owner does.</summary>
    public Task<Outcome<string>> ChangeAsync(
        VmAction action, string vm, CancellationToken cancel, string email = Email) =>
        ChangeVm.RunAsync(action, Db, email, vm, Settings, Time, cancel);

    public Task<Outcome<string>> CancelAsync(string vm, CancellationToken cancel, string email = Email) =>
        CancelVm.RunAsync(Db, AllKinds(), email, vm, Time, cancel);

    public async Task<VmRow> FindAsync(string id, CancellationToken cancel) =>
        await Db.FindAsync<VmRow>(VmSql.Find, new { id, email = Email }, cancel)
            ?? throw new InvalidOperationException($"no VM {id}");

    public async Task<OperationRow> NewestOperationAsync(string id, CancellationToken cancel) =>
        (await Db.FindAsync<OperationRow>(OperationSql.Newest, new { vm = id }, cancel))!;

    /// <summary>A report of the Spoke that answers the current wanted state.</summary>
    public async Task<bool?> ReportAsync(
        string id, Power power, Phase phase, CancellationToken cancel, Action<VmReport>? more = null)
    {
        var vm = await FindAsync(id, cancel);
        var report = new VmReport
        {
            Id = id,
            Power = power,
            Phase = phase,
            Epoch = Epoch,
            Generation = vm.WantedGeneration,
            Restarts = vm.Restarts,
            SshHost = "127.0.0.1",
            SshPort = 22000,
        };
        more?.Invoke(report);
        return await TakeInAsync(Intake.Check(report), cancel, vm.Host);
    }

    /// <summary>A second host, to which VMs can be moved.</summary>
    public Task AddTargetAsync(CancellationToken cancel) => Db.ExecuteAsync(
        """
        UPDATE hosts SET moves_disks = TRUE;
        INSERT INTO hosts (id, state, online, memory_mb, disk_free_mb, last_seen, moves_disks)
        VALUES (@target, 'joined', TRUE, 16384, 100000, @now, TRUE) ON CONFLICT DO NOTHING;
        INSERT INTO addresses (host, address, mac)
        SELECT @target, a.address, a.mac FROM addresses a WHERE a.host = @host ON CONFLICT DO NOTHING
        """, new { target = Target, host = Host, now = Now }, cancel);

    public Task<Outcome<long>> MoveAsync(string vm, CancellationToken cancel, string? to = null) => MoveVm.RunAsync(
        Db, "operator@example.org", new MoveVm.Input(vm, to), null, Settings, Time, cancel);

    /// <summary>Its host can make disks anew, and the owner has the VM reinstalled.</summary>
    public async Task<Outcome<string>> ReinstallAsync(string vm, CancellationToken cancel, string? image = null,
        string? name = null, string? email = Email, IReadOnlyList<long>? keys = null)
    {
        await Db.ExecuteAsync("UPDATE hosts SET makes_disks_anew = TRUE", null, cancel);
        return await ReinstallVm.RunAsync(Db, "test", email,
            new ReinstallVm.Input(vm, image, keys, name ?? (await FindAsync(vm, cancel)).Name), Settings, Time, cancel);
    }

    public async Task<ReinstallRow?> FindReinstallAsync(string vm, CancellationToken cancel) =>
        await Db.FindAsync<ReinstallRow>(ReinstallSql.Find, new { vm }, cancel);

    /// <summary>The Spoke has started the VM from its new disk.</summary>
    public async Task CarryReinstallAsync(string vm, CancellationToken cancel)
    {
        var disk = (await FindReinstallAsync(vm, cancel))?.Disk ?? (await FindAsync(vm, cancel)).Disk;
        await ReportAsync(vm, Power.On, Phase.Ready, cancel, r => r.Disk = disk);
    }

    /// <summary>Its host can rescue VMs, and the owner has this one rescued.</summary>
    public async Task<Outcome<string>> RescueAsync(string vm, CancellationToken cancel, string? email = Email)
    {
        await Db.ExecuteAsync("UPDATE hosts SET rescues = TRUE", null, cancel);
        return await RescueVm.RunAsync(Db, "test", email, vm, Settings, Time, cancel);
    }

    public Task<Outcome<string>> EndRescueAsync(string vm, CancellationToken cancel, string? email = Email) =>
        EndRescue.RunAsync(Db, "test", email, vm, Settings, Time, cancel);

    public Task<RescueRow?> FindRescueAsync(string vm, CancellationToken cancel) =>
        Db.FindAsync<RescueRow>(RescueSql.Find, new { vm }, cancel);

    /// <summary>The Spoke has started the VM from what is wanted: the rescue system, or its own disk.</summary>
    public async Task CarryRescueAsync(string vm, CancellationToken cancel, Action<VmReport>? more = null)
    {
        var rescue = await FindRescueAsync(vm, cancel) is { Ending: false } wanted ? wanted.Number : 0;
        await ReportAsync(vm, Power.On, Phase.Ready, cancel, r =>
        {
            r.Rescue = rescue;
            more?.Invoke(r);
        });
    }

    /// <summary>A running VM that is in rescue.</summary>
    public async Task<string> RescuedVmAsync(CancellationToken cancel)
    {
        var vm = await RunningVmAsync(cancel);
        (await RescueAsync(vm, cancel)).OrThrow();
        await CarryRescueAsync(vm, cancel);
        await SettleAsync(cancel);
        (await FindAsync(vm, cancel)).State.ShouldBe("running");
        return vm;
    }

    public async Task<MoveRow> FindMoveAsync(string vm, CancellationToken cancel) => (await Db.FindAsync<MoveRow>(
        MoveSql.OfOperation, new { operation = (await NewestOperationAsync(vm, cancel)).Id }, cancel))!;

    /// <summary>A report of the host that has a copy, which answers what is wanted of it.</summary>
    public async Task ReportCopyAsync(
        string vm, Power power, CancellationToken cancel, Action<VmReport>? more = null)
    {
        var move = await FindMoveAsync(vm, cancel);
        var report = new VmReport { Id = vm, Power = power, Epoch = Epoch, Generation = move.CopyGeneration };
        more?.Invoke(report);
        await TakeInCopyAsync(Intake.Check(report), move.CopyHost!, cancel);
    }

    public Task TakeInCopyAsync(VmObservation report, string host, CancellationToken cancel) =>
        Fence.InTransactionAsync(Epoch, async transaction =>
        {
            await ObserveCopies.RunAsync(transaction, host, [report], Epoch, Now, cancel);
            return true;
        }, cancel);

    /// <summary>The target has received the disk.</summary>
    public async Task ArriveAsync(string vm, CancellationToken cancel)
    {
        var move = await FindMoveAsync(vm, cancel);
        await ReportCopyAsync(vm, Power.Off, cancel, r => r.Transfer = new TransferReport
        {
            Id = move.Transfer,
            BytesDone = 1000,
            BytesTotal = 1000,
            Sha256 = ImageSha256,
        });
    }

    /// <summary>Both Spokes do their part of a move, until the VM runs on the target.</summary>
    public async Task CarryMoveAsync(string vm, CancellationToken cancel)
    {
        await ReportAsync(vm, Power.Off, Phase.None, cancel);
        await SettleAsync(cancel);
        await ArriveAsync(vm, cancel);
        await SettleAsync(cancel);
        await ReportAsync(vm, Power.On, Phase.Ready, cancel, r => r.HasRun = true);
    }

    /// <summary>Null: the VM is not on this host. Otherwise whether the report was accepted.</summary>
    public async Task<bool?> TakeInAsync(VmObservation report, CancellationToken cancel, string host = Host)
    {
        var before = await Db.FindAsync<ObservedRow>(
            ObserveVmSql.Find, new { ids = new[] { report.Id }, host }, cancel);
        // Also what is no news, and what is not about this host: it must be harmless.
        await Fence.InTransactionAsync(Epoch, async transaction =>
        {
            await ObserveVm.RunAsync(transaction, host, [report], Epoch, Settings, Time, cancel);
            return true;
        }, cancel);
        return before is null ? null : before.IsBack(report) || before.Accepts(report, Epoch);
    }

    /// <summary>Runs steps until none is due.</summary>
    public async Task SettleAsync(CancellationToken cancel)
    {
        for (var n = 0; await Runner.RunOneAsync(Epoch, cancel); n++)
            n.ShouldBeLessThan(50, "operations must come to rest");
    }

    /// <summary>The VM's operation is due.</summary>
    public Task WakeAsync(string vm, CancellationToken cancel) =>
        Db.ExecuteAsync(OperationSql.WakeOf, new { ids = new[] { vm }, now = Now }, cancel);

    public Task SetStepAsync(string vm, string step, CancellationToken cancel) =>
        Db.ExecuteAsync("UPDATE operations SET step = @step WHERE vm = @vm AND finished IS NULL",
            new { step, vm }, cancel);

    /// <summary>An operator ends the VM's operation.</summary>
    public Task ForceAsync(string vm, CancellationToken cancel) => AskAsync(vm, "force", cancel);

    public async Task AskAsync(string vm, string asked, CancellationToken cancel) => await Db.ExecuteAsync(
        OperationSql.Ask, new { id = (await NewestOperationAsync(vm, cancel)).Id, asked, now = Now }, cancel);

    /// <summary>Frees capacity for the next VM.</summary>
    public Task RemoveAllAsync(CancellationToken cancel) => Db.ExecuteAsync(
        """
        UPDATE moves SET ended = coalesce(ended, @now), copy_host = NULL WHERE copy_host IS NOT NULL;
        UPDATE vms SET deleted = @now, state = 'failed', wanted = 'gone' WHERE deleted IS NULL;
        UPDATE addresses SET vm = NULL;
        """, new { now = Now }, cancel);

    public Task<int> CountAsync(string table, string where, CancellationToken cancel) =>
        Db.FindAsync<int>($"SELECT count(*)::integer FROM {table} WHERE {where}", null, cancel);

    public ValueTask DisposeAsync() => database.DisposeAsync();
}
