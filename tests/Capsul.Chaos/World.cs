using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Link;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Wire;
using Grpc.Core;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Chaos;

/// <summary>
/// A Hub and two hosts in one process, on one virtual clock, with the real database: the engine, the reconcilers of the
/// Hub, both ends of the link and the reconcilers of the Spokes, each taken one step at a time. The next step is drawn
/// from the seed among all that are due; nothing else is random, so the same seed produces the same run. The arrival of
/// a message is a step, too: it can be lost, repeated, or late.
/// </summary>
sealed partial class World(
    Db db, Settings settings, IReadOnlyList<Host> hosts, VirtualTime time, Random random, Report report)
{
    static readonly CancellationToken Never = CancellationToken.None;
    /// <summary>A seed takes about two thousand steps; with this many, something wakes itself endlessly.</summary>
    const int MostSteps = 50_000;

    static readonly TimeSpan HealthEvery = TimeSpan.FromSeconds(5), SaveEvery = TimeSpan.FromSeconds(2),
        EvacuateEvery = TimeSpan.FromSeconds(30);

    readonly Listener listener = new(db, time, NullLogger<Listener>.Instance);
    readonly List<string> trace = [];
    readonly Dictionary<string, int> numbers = new(StringComparer.Ordinal);
    readonly Fence fence = new(db, new Listener(db, time, NullLogger<Listener>.Instance));
    Runner? runner;
    HostHealth? health;
    HalfMadeVms? halfMade;
    Evacuation? evacuation;
    BuildQueues? builds;
    Metering? metering;
    PriceChanges? prices;
    Heartbeats? heartbeats;
    DateTime nextHealth, nextSave, nextRepair, nextEvacuation, nextBuild, nextHour, nextPrice;
    DateTime? nextOperation;

    /// <summary>0 while no Hub is active.</summary>
    public long Epoch { get; private set; }

    public Db Db => db;

    public Fence Fence => fence;

    public Settings Settings => settings;

    public VirtualTime Time => time;

    public Random Random => random;

    public IReadOnlyList<Host> Hosts => hosts;

    /// <summary>A backup was restored: what happened since is not in the database, also which host has a VM.</summary>
    public bool IsRestored { get; set; }

    /// <summary>The newest content of each VM's disk that was ever seen.</summary>
    public Dictionary<string, Simulated.Content> Newest { get; } = new(StringComparer.Ordinal);

    public Report Report => report;

    /// <summary>The trace; the same for the same seed.</summary>
    public IReadOnlyList<string> Trace => trace;

    public static IReadOnlyList<OperationKind> Kinds => VmFeature.Operations;

    /// <summary>VMs are numbered in order of creation, because their IDs are random.</summary>
    public string NameOf(string vm)
    {
        if (!numbers.TryGetValue(vm, out var number)) numbers[vm] = number = numbers.Count + 1;
        return $"vm{number}";
    }

    public int NumberOf(string vm) => int.Parse(NameOf(vm)[2..], CultureInfo.InvariantCulture);

    public void Note(string what) =>
        trace.Add($"{(time.Now - DateTime.UnixEpoch).TotalSeconds % 86_400 % 10_000,9:0.000} {what}");

    /// <summary>
    /// Acquires the seat, like a process that has just started; an earlier one may still believe that it is active.
    /// </summary>
    public async Task StartHubAsync()
    {
        var before = (Runner: runner, Epoch);
        Epoch = await db.FindAsync<long>(SeatSql.Take, new { holder = "chaos", linkAddress = "" }, Never);
        runner = new Runner(db, fence, listener, Kinds, time, NullLogger<Runner>.Instance);
        health = new HostHealth(db, fence, time);
        heartbeats = new Heartbeats(fence, time);
        halfMade = new HalfMadeVms(fence, settings, time);
        evacuation = new Evacuation(db, fence, settings, time);
        builds = new BuildQueues(db, fence, listener, settings, time);
        metering = new Metering(db, fence, time);
        prices = new PriceChanges(db, fence, time);
        (nextHealth, nextOperation) = (time.Now + HostHealth.Grace, time.Now);
        // Also if it was posted already: nothing may come of that.
        nextHour = VirtualTime.FirstHour;
        (nextSave, nextRepair, nextBuild, nextEvacuation) = (time.Now, time.Now, time.Now, time.Now);
        nextPrice = time.Now;
        if (before.Runner is not null) await TryLateWriteAsync(before.Runner, before.Epoch);
        foreach (var host in hosts) host.NextDial = time.Now + Milliseconds(0, 2000);
    }

    /// <summary>Invariant 1: writes by an earlier Hub must be refused.</summary>
    async Task TryLateWriteAsync(Runner old, long epoch)
    {
        try
        {
            await old.RunOneAsync(epoch, Never);
            report.Violate("a Hub that lost the seat could write");
        }
        catch (SeatLostException)
        {
            report.LateWritesRefused++;
        }
    }

    /// <summary>
    /// Like kill -9: between two steps, with its connections. The next one takes over from the database alone.
    /// </summary>
    public void KillHub()
    {
        Epoch = 0;
        foreach (var host in hosts) host.Disconnect();
    }

    public TimeSpan Milliseconds(int least, int most) => TimeSpan.FromMilliseconds(random.Next(least, most + 1));

    /// <summary>Runs everything up to a time.</summary>
    public async Task RunToAsync(DateTime until)
    {
        while (true)
        {
            var ready = Ready().ToList();
            if (ready.Count > 0)
            {
                var (name, step) = ready[random.Next(ready.Count)];
                if (++report.Steps > MostSteps)
                    throw new InvalidOperationException(
                        $"It does not come to rest:\n{string.Join('\n', trace.TakeLast(30))}");
                Note(name);
                await step();
                PassOnEvents();
                continue;
            }
            var next = NextDue();
            if (next > until) break;
            await AdvanceAsync(next);
        }
        await AdvanceAsync(until);
    }

    async Task AdvanceAsync(DateTime to)
    {
        time.AdvanceTo(to);
        await CollectRoundsAsync();
    }

    /// <summary>Every step that is possible now, in an order that does not depend on IDs or hashes.</summary>
    IEnumerable<(string Name, Func<Task> Step)> Ready()
    {
        if (Epoch != 0)
        {
            if (nextOperation <= time.Now) yield return ("the runner", RunOperationAsync);
            if (nextHealth <= time.Now) yield return ("host health", LookAtHealthAsync);
            if (nextRepair <= time.Now) yield return ("half-made VMs", RepairAsync);
            if (nextEvacuation <= time.Now) yield return ("evacuation", EvacuateAsync);
            if (nextBuild <= time.Now) yield return ("build queues", ServeQueuesAsync);
            if (nextSave <= time.Now) yield return ("heartbeats are saved", SaveHeartbeatsAsync);
            if (nextPrice <= time.Now) yield return ("price changes", ChangePricesAsync);
            if (nextHour <= time.Now) yield return ("metering", () => PostHourAsync(VirtualTime.FirstHour));
        }
        foreach (var host in hosts)
        {
            foreach (var step in Ready(host)) yield return step;
        }
    }

    IEnumerable<(string Name, Func<Task> Step)> Ready(Host host)
    {
        if (host.Vms is null) yield break;
        var idle = host.Asking.IsCompleted;
        if (host.Connection is null && idle && Epoch != 0 && host.NextDial <= time.Now)
            yield return ($"{host.Name} dials", () => DialAsync(host));
        if (host.Connection is not null)
        {
            if (host.NextBeat <= time.Now && idle) yield return ($"{host.Name} beats", () => BeatAsync(host));
            if (host.Stale) yield return ($"the Hub checks for changes for {host.Name}", () => TellAsync(host));
            if (host.Up.Count > 0)
                yield return ($"the Hub receives from {host.Name}: {host.Up[0].BodyCase}", () => HearAsync(host));
            if (host.Down.Count > 0) yield return ($"{host.Name} receives from the Hub", () => ApplyAsync(host));
        }
        foreach (var reconciler in Reconcilers(host).Where(r => !host.Rounds.ContainsKey(r)))
        {
            if (reconciler.TakeLook()) host.Due[reconciler] = time.Now;
            if (!host.Due.TryGetValue(reconciler, out var due) || due <= time.Now)
                yield return ($"{host.Name} reconciles {NameOf(reconciler.Id)}", () => LookAsync(host, reconciler));
        }
    }

    IEnumerable<VmReconciler> Reconcilers(Host host) => host.Vms!.Reconcilers.OrderBy(r => NumberOf(r.Id));

    DateTime NextDue()
    {
        var due = new List<DateTime?> { time.NextTimer };
        if (Epoch != 0)
            due.AddRange([nextOperation, nextHealth, nextSave, nextRepair, nextBuild, nextEvacuation, nextHour,
                nextPrice]);
        foreach (var host in hosts.Where(h => h.Vms is not null))
        {
            if (host.Asking.IsCompleted)
                due.Add(host.Connection is not null ? host.NextBeat : Epoch != 0 ? host.NextDial : null);
            due.AddRange(host.Due.Where(d => !host.Rounds.ContainsKey(d.Key)).Select(d => (DateTime?)d.Value));
        }
        return due.Min() ?? DateTime.MaxValue;
    }

    /// <summary>A connection begins like a real one: hello, then the inventory.</summary>
    async Task DialAsync(Host host)
    {
        host.Connection = new SpokeConnection(
            host.Name, Epoch, db, fence, heartbeats!, listener, settings, time, NullLogger.Instance);
        try
        {
            await host.Connection.GreetAsync(host.Hello(), Never);
            host.Offered = host.Connection.Token;
            host.Asking = SayAsync(host, beats: false, async vms =>
            {
                var inventory = new Inventory();
                inventory.Vms.AddRange((await vms.InventoryAsync(host.Alive)).OrderBy(r => NumberOf(r.Id)));
                return [new SpokeMessage { Inventory = inventory }];
            });
            host.Stale = true;
            host.NextBeat = time.Now;
        }
        catch (RpcException error)
        {
            Disconnect(host, error.Status.Detail);
        }
    }

    Task BeatAsync(Host host)
    {
        host.NextBeat = time.Now + TimeSpan.FromSeconds(Protocol.HeartbeatSeconds);
        host.Asking = SayAsync(host, beats: true, async vms =>
        {
            var unknown = (await vms.UnknownVmsAsync(host.Alive))
                .OrderBy(s => NumberOf(s.Id)).Select(s => new SpokeMessage { Vm = s });
            return [new SpokeMessage { Heartbeat = new Heartbeat { HypervisorAnswers = true, DiskFreeMb = 1_000_000 } },
                .. unknown];
        });
        return Task.CompletedTask;
    }

    /// <summary>
    /// Sends the Spoke's report once its hypervisor has responded, if the connection and the Spoke are still the same.
    /// </summary>
    async Task SayAsync(Host host, bool beats, Func<HostVms, Task<IEnumerable<SpokeMessage>>> ask)
    {
        var (vms, connection) = (host.Vms!, host.Connection);
        IEnumerable<SpokeMessage> messages;
        try
        {
            messages = await ask(vms);
        }
        catch (HypervisorException error) when (!beats)
        {
            // As a real one: a connection that cannot begin with an inventory is not kept.
            if (host.Vms == vms && host.Connection == connection) Disconnect(host, error.Message);
            return;
        }
        catch (HypervisorException error)
        {
            messages =
                [new SpokeMessage { Heartbeat = new Heartbeat { DiskFreeMb = 1_000_000, Problem = error.Message } }];
            vms.LookAtAll();
        }
        if (host.Vms == vms && host.Connection == connection) host.Up.AddRange(messages);
    }

    async Task TellAsync(Host host)
    {
        host.Stale = false;
        try
        {
            if (await host.Connection!.ChangesAsync(Never) is { } wanted)
                host.Down.Add(new HubMessage { Wanted = wanted });
        }
        catch (RpcException error)
        {
            Disconnect(host, error.Status.Detail);
        }
    }

    async Task HearAsync(Host host)
    {
        var message = host.Up[0];
        if (!Repeats()) host.Up.RemoveAt(0);
        try
        {
            await host.Connection!.TakeInAsync(message, Never);
        }
        catch (RpcException error)
        {
            Disconnect(host, error.Status.Detail);
        }
        await ChangedAsync();
    }

    async Task ApplyAsync(Host host)
    {
        var message = host.Down[0].Clone();
        if (!Repeats()) host.Down.RemoveAt(0);
        var before = (host.Applied.Epoch, host.Applied.Generation);
        if (!await host.Vms!.ApplyAsync(message.Wanted, Never)) Disconnect(host, "it was refused");
        else host.Acknowledge(message.Wanted);
        if (before.CompareTo((host.Applied.Epoch, host.Applied.Generation)) > 0)
            report.Violate("a Spoke went backwards");
    }

    /// <summary>Either side may receive any message twice.</summary>
    bool Repeats() => random.Next(20) == 0;

    void Disconnect(Host host, string why)
    {
        Note($"the connection to {host.Name} ends: {why}");
        host.Disconnect();
        host.NextDial = time.Now + Milliseconds(200, 5000);
    }

    async Task LookAsync(Host host, VmReconciler reconciler)
    {
        var round = reconciler.RoundAsync(host.Alive);
        host.Rounds[reconciler] = round;
        if (round.IsCompleted) await EndRoundAsync(host, reconciler, round);
    }

    async Task CollectRoundsAsync()
    {
        foreach (var host in hosts)
        {
            foreach (var (reconciler, round) in host.Rounds.Where(r => r.Value.IsCompleted)
                .OrderBy(r => NumberOf(r.Key.Id)).ToList())
                await EndRoundAsync(host, reconciler, round);
        }
    }

    async Task EndRoundAsync(Host host, VmReconciler reconciler, Task<TimeSpan?> round)
    {
        host.Rounds.Remove(reconciler);
        if (await round is { } pause)
        {
            host.Due[reconciler] = time.Now + pause;
            return;
        }
        host.Due.Remove(reconciler);
        host.Vms!.Forget(reconciler);
    }

    /// <summary>Something was written: those that a real Hub would notify check again.</summary>
    public async Task ChangedAsync()
    {
        nextOperation = await db.FindAsync<DateTime?>(OperationSql.NextDue, null, Never);
        foreach (var host in hosts) host.Stale = host.Connection is not null;
        Invariants.CheckDisks(this);
        if (random.Next(4) == 0) await Invariants.CheckAlwaysAsync(this);
    }

    /// <summary>Hypervisors have reported changes.</summary>
    void PassOnEvents()
    {
        foreach (var host in hosts)
        {
            while (host.Hypervisor.Changes.TryRead(out var id)) host.Vms?.Look(id);
        }
    }
}
