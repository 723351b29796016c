using System.Diagnostics;
using Capsul.Demo;
using Capsul.Fleet;
using Capsul.Foundation;

namespace Capsul.Bench;

/// <summary>
/// A Hub with a thousand Spokes and fifty thousand VMs: what it costs while nothing happens but heartbeats, how fast it
/// answers, and how long it takes until it knows everything again after a restart. The Spokes are in a process of their
/// own, so their cost is not the Hub's. First the same with a tenth of the Spokes, for the cost of one VM.
/// </summary>
static class FleetBench
{
    const double MaxCpu = 60, MaxCreateMs = 50, MaxListMs = 50, MaxRestartSeconds = 60, MaxVmKb = 25, MaxRatio = 1.2;
    const int Posts = 100, WarmUps = 10, Reads = 200;
    static readonly TimeSpan Window = TimeSpan.FromSeconds(60), Calm = TimeSpan.FromSeconds(20),
        SettleLimit = TimeSpan.FromMinutes(30);

    /// <summary>CPU in % of one core.</summary>
    sealed record Steady(double Hub, double Server, double Fleet, double VmKb, double WalKb, double MultiXacts)
    {
        public double Cpu => Hub + Server;
    }

    public static async Task<int> RunAsync(bool check, FleetPlan plan, CancellationToken cancel)
    {
        var small = new FleetPlan(Math.Max(1, plan.Spokes / 10), plan.VmsPerSpoke);
        var few = await WithAsync(small, (_, steady) => Task.FromResult(steady), cancel);
        return await WithAsync(plan, async (run, steady) =>
        {
            var lists = await run.ListsAsync();
            var posts = await run.CreatesAsync();
            var (seconds, cut) = await run.RestartAsync();
            var (create, list) = (Figures.Percentile(posts, 99), Figures.Percentile(lists, 99));
            var ratio = steady.Cpu / plan.Vms / (few.Cpu / small.Vms);
            return Figures.Verdict(check, steady.Cpu <= MaxCpu && create <= MaxCreateMs && list <= MaxListMs
                && seconds <= MaxRestartSeconds && cut == 0 && steady.VmKb <= MaxVmKb && ratio <= MaxRatio,
                $"fleet: {plan.Spokes} Spokes, {plan.Vms} VMs: Hub and PostgreSQL {Figures.Text(steady.Cpu, "0.0")} % "
                + $"of a core (bar {MaxCpu}), create accepted p99 {Figures.Text(create, "0")} ms (bar {MaxCreateMs}; "
                + $"{posts.Count}), list of {plan.Largest} p99 {Figures.Text(list, "0")} ms (bar {MaxListMs}; "
                + $"{lists.Count}), restart {Figures.Text(seconds, "0.0")} s (bar {MaxRestartSeconds}), {cut} lines "
                + $"cut (bar 0), {Figures.Text(steady.VmKb, "0.0")} KB a VM (bar {MaxVmKb}), CPU a VM "
                + $"{Figures.Text(ratio)} times that of {small.Vms} VMs (bar {Figures.Text(MaxRatio)})");
        }, cancel);
    }

    static async Task<T> WithAsync<T>(FleetPlan plan, Func<Run, Steady, Task<T>> work, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            await using var run = await Run.StartAsync(folder, plan, cancel);
            return await work(run, await run.SteadyAsync());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    sealed class Run(
        Settings settings, FleetPlan plan, BenchDatabase database, Started hub, FleetChild fleet, double emptyMb,
        CancellationToken cancel) : IAsyncDisposable
    {
        Started hub = hub;

        public static async Task<Run> StartAsync(string folder, FleetPlan plan, CancellationToken cancel)
        {
            Console.WriteLine($"{plan.Spokes} Spokes, {plan.Vms} VMs:");
            var settings = HubRun.SettingsFor(folder);
            var hub = await HubRun.StartAsync(settings, cancel);
            var database = await BenchDatabase.OpenAsync(settings, cancel);
            await HubRun.AwaitActiveAsync(settings, cancel);
            var empty = ProcessCost.Of(hub.Id)!.ResidentMb;
            var fleet = FleetChild.Start(settings, plan);
            await Within.HoldsAsync(SettleLimit, "The settling of the fleet", async token =>
                await fleet.FiguresAsync(token) is { Settled: true }, cancel);
            var figures = (await fleet.FiguresAsync(cancel))!;
            Console.WriteLine($"  settled {Figures.Text(figures.Seconds, "0")} s after the Spokes were started: "
                + $"{figures.Connects} connects, {figures.Cuts} lines cut, {figures.Changed} VMs changed state");
            return new Run(settings, plan, database, hub, fleet, empty, cancel);
        }

        public async Task<Steady> SteadyAsync()
        {
            // What the start has left to do is not what a quiet Hub costs.
            await Task.Delay(Calm, cancel);
            var (was, clock) = (await SampleAsync(), Stopwatch.StartNew());
            await Task.Delay(Window, cancel);
            var (now, seconds) = (await SampleAsync(), clock.Elapsed.TotalSeconds);
            var steady = new Steady(
                100 * (now.Hub - was.Hub) / seconds, 100 * (now.Server - was.Server) / seconds,
                100 * (now.Fleet - was.Fleet) / seconds,
                (ProcessCost.Of(hub.Id)!.ResidentMb - emptyMb) * 1024 / plan.Vms,
                (now.Counters.Wal - was.Counters.Wal) / 1024.0 / seconds,
                (now.Counters.MultiXacts - was.Counters.MultiXacts) / seconds);
            Console.WriteLine($"  steady: Hub {Figures.Text(steady.Hub, "0.0")} %, PostgreSQL "
                + $"{Figures.Text(steady.Server, "0.0")} %, fleet {Figures.Text(steady.Fleet, "0.0")} % of a core; Hub "
                + $"{Figures.Text(emptyMb, "0")} MiB and {Figures.Text(steady.VmKb, "0.0")} KB a VM; WAL "
                + $"{Figures.Text(steady.WalKb, "0")} KiB/s, MultiXacts {Figures.Text(steady.MultiXacts, "0.0")}/s, "
                + $"commits {Figures.Text((now.Counters.Commits - was.Counters.Commits) / seconds, "0")}/s");
            return steady;
        }

        async Task<(double Hub, double Server, double Fleet, FleetCountersRow Counters)> SampleAsync() =>
            (ProcessCost.Of(hub.Id)!.CpuSeconds, await database.CpuSecondsAsync(cancel), fleet.Cost.CpuSeconds,
                await database.CountersAsync(cancel));

        /// <summary>Milliseconds for the page of the account with most VMs.</summary>
        public async Task<List<double>> ListsAsync()
        {
            using var door = new FrontDoor(HubRun.PagesOf(settings));
            await door.SignInAsync(FleetPlan.AccountName(0), cancel);
            var times = new List<double>();
            for (var n = 0; n < WarmUps + Reads; n++)
            {
                var clock = Stopwatch.StartNew();
                await door.PageAsync("/console", cancel);
                if (n >= WarmUps) times.Add(clock.Elapsed.TotalMilliseconds);
                // Below the limit of requests that an address may make.
                await Task.Delay(TimeSpan.FromMilliseconds(30), cancel);
            }
            Say($"list of {plan.Largest}", times);
            return times;
        }

        /// <summary>Milliseconds until the POST of the create form was answered.</summary>
        public async Task<List<double>> CreatesAsync()
        {
            using var door = new FrontDoor(HubRun.PagesOf(settings));
            await door.SignInAsync("bench@example.org", cancel);
            var visitor = new Visitor(door, settings.Data);
            await visitor.AddKeyAsync(cancel);
            await visitor.TopUpAsync("1000", cancel);
            var times = new List<double>();
            for (var n = 0; n < WarmUps + Posts; n++)
            {
                var (_, took, _) = await visitor.PostCreateAsync(FleetPlan.SizeId, FleetPlan.ImageId, "", cancel);
                if (n >= WarmUps) times.Add(took.TotalMilliseconds);
            }
            Say("create accepted", times);
            return times;
        }

        static void Say(string what, List<double> times) => Console.WriteLine(
            $"  {what}: median {Figures.Text(Figures.Median(times), "0.0")} ms, p99 "
            + $"{Figures.Text(Figures.Percentile(times, 99), "0.0")} ms, {times.Count} times");

        /// <summary>
        /// Seconds from the start of the Hub until every host is online and every VM was reported under it, after an
        /// outage so long that all were unknown; and the lines that were cut after they had been accepted.
        /// </summary>
        public async Task<(double Seconds, long Cut)> RestartAsync()
        {
            await hub.EndAsync("KILL", cancel);
            await Within.HoldsAsync(SettleLimit, "The Spokes' noticing that the Hub is gone", async token =>
                await fleet.FiguresAsync(token) is { Connected: 0 }, cancel);
            await database.Db.ExecuteAsync(BenchSql.LoseSight, new { now = TimeProvider.System.GetUtcNow() }, cancel);
            var cuts = (await fleet.FiguresAsync(cancel))!.Cuts;
            var clock = Stopwatch.StartNew();
            hub = HubRun.Begin(settings);
            await Within.HoldsAsync(SettleLimit, "The Hub's taking in every host", async token =>
                await database.Db.AskAsync<FleetStateRow>(FleetSql.State, null, token) is var state
                && state.Online == plan.Spokes && state.Reported >= plan.Vms, cancel);
            var seconds = clock.Elapsed.TotalSeconds;
            var cut = (await fleet.FiguresAsync(cancel))!.Cuts - cuts;
            Console.WriteLine($"  restart: every VM is known after {Figures.Text(seconds, "0.0")} s, {cut} lines cut");
            Console.WriteLine(await fleet.ReasonsAsync(cancel));
            return (seconds, cut);
        }

        public async ValueTask DisposeAsync()
        {
            await fleet.DisposeAsync();
            await hub.DisposeAsync();
            await database.DisposeAsync();
        }
    }
}
