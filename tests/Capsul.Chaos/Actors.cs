using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Operations;
using Capsul.Hub.Features.Ports;
using Capsul.Hub.Features.Vms;
using Capsul.Spoke.Hypervisor;

namespace Capsul.Chaos;

/// <summary>The actions of people, guests, machines and chance, one at a time, drawn from the seed.</summary>
sealed partial class Actors(World world, Snapshot snapshot)
{
    public const string Email = "ada@example.org";

    static readonly CancellationToken Never = CancellationToken.None;
    static readonly Verb[] Verbs = Enum.GetValues<Verb>();
    static readonly FaultKind[] Kinds = Enum.GetValues<FaultKind>();

    Random Random => world.Random;

    /// <summary>How often a guest shut itself down.</summary>
    public int Poweroffs { get; private set; }

    /// <summary>When each killed Spoke restarts.</summary>
    readonly Dictionary<Host, DateTime> spokesBack = [];

    /// <summary>When each full disk has room again.</summary>
    readonly Dictionary<Host, DateTime> roomBack = [];

    DateTime? hubBack;

    public async Task ActAsync()
    {
        await BringBackAsync();
        var host = world.Hosts[Random.Next(world.Hosts.Count)];
        switch (Random.Next(100))
        {
            case < 6:
                await KillSpokeAsync(host, "kill a Spoke");
                break;
            case < 11:
                KillHub();
                break;
            case < 16 when host.Connection is not null:
                Count($"cut the connection to {host.Name}", "cut a connection");
                host.Disconnect();
                host.NextDial = world.Time.Now + world.Milliseconds(200, 45_000);
                break;
            case < 20:
                await RebootAsync(host);
                break;
            case < 27:
                await GuestAsync(host);
                break;
            case < 45:
                InjectFault(host);
                break;
            case < 47:
                await BackUpAsync();
                break;
            case < 50 when Random.Next(2) == 0:
                FillDisk(host);
                break;
            case 50 when Random.Next(2) == 0:
                await EmptyOperationsAsync();
                break;
            case < 62:
                await CreateAsync();
                break;
            case < 72:
                await MoveAsync();
                break;
            case < 74:
                await InterveneAsync();
                break;
            case < 76:
                await EvacuateAsync(host);
                break;
            case < 78:
                await ChangeFirewallAsync();
                break;
            case < 81:
                await ChangePortsAsync();
                break;
            case < 84:
                await ReinstallAsync();
                break;
            case < 85 when Random.Next(2) == 0:
                await AnnouncePriceAsync();
                break;
            case < 86 when Random.Next(2) == 0:
                await ChangeAddressesAsync();
                break;
            case < 88:
                await RescueAsync();
                break;
            default:
                await ChangeAsync();
                break;
        }
    }

    /// <summary>Ends all faults: everything runs again.</summary>
    public async Task CalmAsync()
    {
        (hubBack, var now) = (hubBack is null ? null : world.Time.Now, world.Time.Now);
        foreach (var host in spokesBack.Keys.ToList()) spokesBack[host] = now;
        foreach (var host in roomBack.Keys.ToList()) roomBack[host] = now;
        foreach (var host in world.Hosts)
        {
            host.Hypervisor.ClearFaults();
            await UndrainHost.RunAsync(world.Db, "operator", host.Name, Never);
        }
        await BringBackAsync();
    }

    async Task BringBackAsync()
    {
        if (hubBack <= world.Time.Now)
        {
            hubBack = null;
            world.Note("the Hub starts");
            await world.StartHubAsync();
        }
        foreach (var (host, at) in roomBack.Where(r => r.Value <= world.Time.Now)
            .OrderBy(r => r.Key.Name, StringComparer.Ordinal).ToList())
        {
            roomBack.Remove(host);
            world.Note($"the disk of {host.Name} has room again");
            host.Hypervisor.FreeDisk();
        }
        foreach (var (host, at) in spokesBack.Where(s => s.Value <= world.Time.Now)
            .OrderBy(s => s.Key.Name, StringComparer.Ordinal).ToList())
        {
            spokesBack.Remove(host);
            world.Note($"the Spoke of {host.Name} starts");
            await host.StartSpokeAsync(Never);
        }
    }

    Task KillSpokeAsync(Host host, string what)
    {
        if (host.Vms is null) return Task.CompletedTask;
        Count($"{what}: {host.Name}", what);
        host.KillSpoke();
        spokesBack[host] = world.Time.Now + world.Milliseconds(0, 45_000);
        return Task.CompletedTask;
    }

    void KillHub()
    {
        if (world.Epoch == 0) return;
        Count("kill the Hub", "kill the Hub");
        world.KillHub();
        hubBack = world.Time.Now + world.Milliseconds(0, 20_000);
    }

    async Task RebootAsync(Host host)
    {
        await KillSpokeAsync(host, "reboot a host");
        host.Hypervisor.Reboot();
    }

    async Task GuestAsync(Host host)
    {
        var on = (await world.Db.ListAsync<string>(
            "SELECT id FROM vms WHERE host = @host AND observed = 'on' AND deleted IS NULL",
            new { host = host.Name }, Never))
            .OrderBy(world.NumberOf).ToList();
        if (on.Count == 0) return;
        var vm = on[Random.Next(on.Count)];
        if (Random.Next(2) == 0)
        {
            Count($"{world.NameOf(vm)} powers itself off", "a guest powers itself off");
            Poweroffs++;
            host.Hypervisor.PowerOffFromInside(vm);
        }
        else
        {
            Count($"{world.NameOf(vm)} crashes", "a guest crashes");
            host.Hypervisor.Crash(vm);
        }
        host.Vms?.Look(vm);
    }

    void FillDisk(Host host)
    {
        Count($"the disk of {host.Name} is full", "a disk is full");
        host.Hypervisor.FillDisk();
        roomBack[host] = world.Time.Now + world.Milliseconds(0, 120_000);
    }

    void InjectFault(Host host)
    {
        var (verb, kind) = (Verbs[Random.Next(Verbs.Length)], Kinds[Random.Next(Kinds.Length)]);
        Count($"{host.Name}: {verb} {kind}", $"fault {kind} of {verb}");
        host.Hypervisor.Inject(verb, new Fault(kind, Random.Next(1, 4), By: world.Milliseconds(10, 20_000)));
    }

    /// <summary>First takes a backup; later the Hub is lost, and restarts with the backup's data.</summary>
    async Task BackUpAsync()
    {
        if (!snapshot.IsTaken)
        {
            Count("a backup", "backup");
            await snapshot.TakeAsync();
            return;
        }
        if (world.Epoch == 0) return;
        Count("the database is restored", "restore of a backup");
        world.KillHub();
        await snapshot.RestoreAsync();
        world.IsRestored = true;
        hubBack = world.Time.Now + world.Milliseconds(0, 5_000);
    }

    /// <summary>Somebody deletes what the engine knows; the VMs stay as they are.</summary>
    async Task EmptyOperationsAsync()
    {
        Count("the operations table is emptied", "the operations table is emptied");
        await world.Db.ExecuteAsync("DELETE FROM operation_events; DELETE FROM operations", null, Never);
        await world.ChangedAsync();
    }

    async Task CreateAsync()
    {
        var key = await world.Db.FindAsync<long>("SELECT min(id) FROM ssh_keys", null, Never);
        var outcome = await CreateVm.RunAsync(
            world.Db, Email, new CreateVm.Input(null, "f1-xs", "tiny", [key]), world.Settings, world.Time, Never);
        Count($"create {(outcome.Value is { } id ? world.NameOf(id) : outcome.Problem!.Kind)}", "create");
        if (outcome.Problem is { Kind: not ProblemKind.NoCapacity } problem)
            world.Report.Violate($"a create was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    /// <summary>Any use case on any VM; a refusal because of its state is a valid result, too.</summary>
    async Task ChangeAsync()
    {
        var vms = await world.Db.ListAsync<string>("SELECT id FROM vms WHERE deleted IS NULL", null, Never);
        if (vms.Count == 0) return;
        var vm = vms.OrderBy(world.NumberOf).ElementAt(Random.Next(vms.Count));
        var choice = Random.Next(VmActions.All.Count + 1);
        var name = choice < VmActions.All.Count ? VmActions.All[choice].Name : "cancel";
        var outcome = choice < VmActions.All.Count
            ? await ChangeVm.RunAsync(VmActions.All[choice], world.Db, Email, vm, world.Settings, world.Time, Never)
            : await CancelVm.RunAsync(world.Db, World.Kinds, Email, vm, world.Time, Never);
        Count($"{name} {world.NameOf(vm)}{(outcome.Problem is null ? "" : ": refused")}",
            outcome.Problem is null ? name : $"{name}, refused");
        if (outcome.Problem is { } problem && problem.Kind is not (ProblemKind.Conflict or ProblemKind.NotFound))
            world.Report.Violate($"{name} was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    async Task MoveAsync()
    {
        var vms = await world.Db.ListAsync<string>("SELECT id FROM vms WHERE deleted IS NULL", null, Never);
        if (vms.Count == 0) return;
        var vm = vms.OrderBy(world.NumberOf).ElementAt(Random.Next(vms.Count));
        var outcome = await MoveVm.RunAsync(
            world.Db, "operator", new MoveVm.Input(vm, null), null, world.Settings, world.Time, Never);
        Count($"move {world.NameOf(vm)}{(outcome.Problem is { } why ? $": {why.Message}" : "")}",
            outcome.Problem is null ? "move" : "move, refused");
        if (outcome.Problem is { Kind: not (ProblemKind.Conflict or ProblemKind.NoCapacity) } problem)
            world.Report.Violate($"a move was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    async Task ReinstallAsync()
    {
        var vms = await world.Db.ListAsync<(string Id, string Name)>(
            "SELECT id, name FROM vms WHERE deleted IS NULL", null, Never);
        if (vms.Count == 0) return;
        var vm = vms.OrderBy(v => world.NumberOf(v.Id)).ElementAt(Random.Next(vms.Count));
        var outcome = await ReinstallVm.RunAsync(world.Db, Email, Email,
            new ReinstallVm.Input(vm.Id, null, null, vm.Name), world.Settings, world.Time, Never);
        Count($"reinstall {world.NameOf(vm.Id)}{(outcome.Problem is { } why ? $": {why.Message}" : "")}",
            outcome.Problem is null ? "reinstall" : "reinstall, refused");
        if (outcome.Problem is { Kind: not ProblemKind.Conflict } problem)
            world.Report.Violate($"a reinstall was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    /// <summary>One that is in rescue is started normally more often than not, so that there are both.</summary>
    async Task RescueAsync()
    {
        var vms = await world.Db.ListAsync<(string Id, bool InRescue)>("SELECT v.id, EXISTS (SELECT FROM rescues r "
            + "WHERE r.vm = v.id AND r.ended IS NULL) FROM vms v WHERE v.deleted IS NULL", null, Never);
        if (vms.Count == 0) return;
        var (vm, ends) = vms.OrderBy(v => world.NumberOf(v.Id)).ElementAt(Random.Next(vms.Count));
        if (Random.Next(3) == 0)
        {
            await ChangeKeysAsync(vm);
            return;
        }
        var what = ends ? "end a rescue" : "rescue";
        var outcome = ends ? await EndRescue.RunAsync(world.Db, Email, Email, vm, world.Settings, world.Time, Never)
            : await RescueVm.RunAsync(world.Db, Email, Email, vm, world.Settings, world.Time, Never);
        Count($"{what} of {world.NameOf(vm)}{(outcome.Problem is { } why ? $": {why.Message}" : "")}",
            outcome.Problem is null ? what : $"{what}, refused");
        if (outcome.Problem is { Kind: not ProblemKind.Conflict } problem)
            world.Report.Violate($"a rescue was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    async Task ChangeKeysAsync(string vm)
    {
        var outcome = await ChangeKeysLater.RunAsync(world.Db, Email, Email, vm, null, world.Time, Never);
        Count($"keys of {world.NameOf(vm)} at its next start{(outcome.Problem is { } why ? $": {why.Message}" : "")}",
            outcome.Problem is null ? "change keys" : "change keys, refused");
        if (outcome.Problem is { Kind: not ProblemKind.Conflict } problem)
            world.Report.Violate($"a change of keys was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    async Task ChangePortsAsync()
    {
        var vms = await world.Db.ListAsync<string>("SELECT id FROM vms WHERE deleted IS NULL", null, Never);
        if (vms.Count == 0) return;
        var vm = vms.OrderBy(world.NumberOf).ElementAt(Random.Next(vms.Count));
        var (closes, port) = (Random.Next(3) == 0, $"{Random.Next(80, 83)}");
        var problem = closes
            ? (await ClosePort.RunAsync(world.Db, Email, Email, vm, port, "host", Never)).Problem
            : (await OpenPort.RunAsync(
                world.Db, Email, Email, vm, port, "host", world.Settings, world.Time, Never)).Problem;
        Count($"{(closes ? "close" : "open")} port {port} of {world.NameOf(vm)}{(problem is null ? "" : ": refused")}",
            closes ? "close a port" : "open a port");
        if (problem is { Kind: not (ProblemKind.Conflict or ProblemKind.NotFound or ProblemKind.NoCapacity) })
            world.Report.Violate($"a port was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    async Task ChangeFirewallAsync()
    {
        var vms = await world.Db.ListAsync<string>("SELECT id FROM vms WHERE deleted IS NULL", null, Never);
        if (vms.Count == 0) return;
        var vm = vms.OrderBy(world.NumberOf).ElementAt(Random.Next(vms.Count));
        FirewallChange change = Random.Next(3) == 0 ? new FirewallChange.Preset("everything")
            : new FirewallChange.Allow("tcp", $"{Random.Next(1, 1000)}", null);
        var outcome = await ChangeFirewall.RunAsync(world.Db, Email, Email, vm, change, Never);
        Count($"change the firewall of {world.NameOf(vm)}", "change a firewall");
        if (outcome.Problem is { Kind: not ProblemKind.Conflict } problem)
            world.Report.Violate($"a firewall was refused: {problem.Message}");
        await world.ChangedAsync();
    }

    /// <summary>The size of all VMs, or all further addresses get another price, soon or at once.</summary>
    async Task AnnouncePriceAsync()
    {
        Count("announce a price", "announce a price");
        await world.Db.ExecuteAsync(
            """
            INSERT INTO prices (size, active_from, dollars_per_month, announced)
            VALUES (@size, @from, @dollars, @now) ON CONFLICT DO NOTHING
            """, new
            {
                size = Random.Next(3) == 0 ? Prices.FurtherAddress : "f1-xs",
                now = world.Time.Now,
                from = world.Time.Now + world.Milliseconds(0, 90_000),
                dollars = Random.Next(1, 1000) / 100m,
            }, Never);
        world.LookAtPrices();
    }

    /// <summary>An operator cancels or forces a move that is going on.</summary>
    async Task InterveneAsync()
    {
        var open = await world.Db.ListAsync<long>(
            "SELECT id FROM operations WHERE kind = 'move_vm' AND finished IS NULL ORDER BY id", null, Never);
        if (open.Count == 0) return;
        var request = Random.Next(3) == 0 ? OperationRequest.Force : OperationRequest.Cancel;
        var outcome = await AskOperation.RunAsync(request, world.Db, World.Kinds, "operator", null,
            open[Random.Next(open.Count)], "chaos", world.Time, Never);
        Count($"{request.Name} a move", outcome.Problem is null ? $"{request.Name} a move" : "intervention, refused");
        await world.ChangedAsync();
    }

    /// <summary>A host is evacuated, or no longer.</summary>
    async Task EvacuateAsync(Host host)
    {
        var undrained = (await UndrainHost.RunAsync(world.Db, "operator", host.Name, Never)).Problem is null;
        if (!undrained) await EvacuateHost.RunAsync(world.Db, "operator", host.Name, null, "chaos", Never);
        Count($"{(undrained ? "undrain" : "evacuate")} {host.Name}", undrained ? "undrain" : "evacuate");
        await world.ChangedAsync();
    }

    void Count(string what, string kind)
    {
        world.Note(what);
        world.Report.Count(kind);
    }
}
