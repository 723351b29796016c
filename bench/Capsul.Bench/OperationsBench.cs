using System.Diagnostics;
using Capsul.Fleet;
using Capsul.Hub.Engine;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// Steps a second of the engine, whose kind does nothing, against a bare loop that takes a row with SKIP LOCKED, counts
/// it up, and commits as often, with as many workers, on the same server. They take turns in short rounds, because what
/// else the machine does changes within seconds.
/// </summary>
static class OperationsBench
{
    const double Bar = 0.6;
    const int Workers = 4, Steps = 5, Rounds = 15;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            await using var database = await BenchDatabase.OpenAsync(HubRun.SettingsFor(folder), cancel);
            var db = database.Db;
            await new Migrator(db, NullLogger.Instance).MigrateAsync(cancel);
            var plan = new FleetPlan(4, 50);
            await BenchRows.FillAsync(db, plan, cancel);
            await db.ExecuteAsync(BenchSql.MakeJobs, null, cancel);
            await db.ExecuteAsync(BenchSql.IndexJobs, null, cancel);
            var epoch = await db.AskAsync<long>(SeatSql.Take, new { holder = "bench", linkAddress = "" }, cancel);
            var ratios = new List<double>();
            Console.WriteLine("round   engine, steps/s   bare loop, commits/s   ratio");
            // The first round warms up both.
            for (var n = 0; n <= Rounds; n++)
            {
                var bare = n % 2 == 0 ? await BareAsync(db, plan.Vms, cancel) : 0;
                var engine = await EngineAsync(db, plan.Vms, epoch, cancel);
                if (n % 2 == 1) bare = await BareAsync(db, plan.Vms, cancel);
                Console.WriteLine($"{n,5}   {Figures.Text(engine, "0"),15}   {Figures.Text(bare, "0"),20}   "
                    + Figures.Text(engine / bare));
                if (n > 0) ratios.Add(engine / bare);
            }
            var ratio = Figures.Median(ratios);
            return Figures.Verdict(check, ratio >= Bar, $"operations: engine {Figures.Text(ratio)} of a bare loop "
                + $"(bar at least {Figures.Text(Bar)}; {Workers} workers)");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task<double> EngineAsync(Db db, int operations, long epoch, CancellationToken cancel)
    {
        await db.ExecuteAsync(
            BenchSql.AddOperations, new { kind = Idle.KindName, step = Idle.NameOf(0) }, cancel);
        await db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
        var listener = new Listener(db, TimeProvider.System, NullLogger<Listener>.Instance);
        var runner = new Runner(db, new Fence(db, listener), listener, [new Idle()], TimeProvider.System,
            NullLogger<Runner>.Instance);
        return await RateAsync(operations, async () =>
        {
            while (await runner.RunOneAsync(epoch, cancel)) { }
        });
    }

    static async Task<double> BareAsync(Db db, int jobs, CancellationToken cancel)
    {
        await db.ExecuteAsync("TRUNCATE jobs", null, cancel);
        await db.ExecuteAsync(BenchSql.AddJobs, new { count = jobs }, cancel);
        await db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
        return await RateAsync(jobs, async () =>
        {
            while (await db.InTransactionAsync(async transaction =>
            {
                var now = TimeProvider.System.GetUtcNow().UtcDateTime;
                if (await transaction.FindAsync<long?>(BenchSql.TakeJob, new { now }, cancel) is not { } id)
                    return false;
                await transaction.ExecuteAsync(BenchSql.SaveJob, new { id, now, steps = Steps }, cancel);
                return true;
            }, cancel)) { }
        });
    }

    static async Task<double> RateAsync(int rows, Func<Task> work)
    {
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(Enumerable.Range(0, Workers).Select(_ => Task.Run(work)));
        return rows * Steps / clock.Elapsed.TotalSeconds;
    }

    /// <summary>An operation whose steps do nothing.</summary>
    sealed class Idle : OperationKind
    {
        public const string KindName = "bench";

        public override string Name => KindName;

        public override IReadOnlyList<(string Name, string Title)> Steps { get; } =
            [.. Enumerable.Range(0, OperationsBench.Steps).Select(n => (NameOf(n), NameOf(n)))];

        public static string NameOf(int step) => $"step{step}";

        public override Task<Next> RunAsync(StepContext context, CancellationToken cancel)
        {
            var next = context.Operation.Step[^1] - '0' + 1;
            return Task.FromResult<Next>(
                next < OperationsBench.Steps ? new Next.GoTo(NameOf(next)) : new Next.Done("Done"));
        }

        public override Task<Next> UndoAsync(StepContext context, CancellationToken cancel) =>
            Task.FromResult<Next>(new Next.Done("Done"));

        public override Task ForceAsync(StepContext context, CancellationToken cancel) => Task.CompletedTask;
    }
}

/// <summary>Rows of a fleet without its Spokes.</summary>
static class BenchRows
{
    static readonly string Sha256 = new('a', 64);

    public static async Task FillAsync(Db db, FleetPlan plan, CancellationToken cancel)
    {
        await db.ExecuteAsync(BenchSql.AddHosts, new { hosts = plan.Hosts.ToArray() }, cancel);
        await new FleetFill(db, plan,
            new Spoke.Images.Image(FleetPlan.ImageId, "Fleet", Sha256, "capsul", 1, 128),
            "127.0.0.1", TimeProvider.System).RunAsync(cancel);
        await db.ExecuteAsync(
            BenchSql.AddHostImages, new { image = FleetPlan.ImageId, sha256 = Sha256 }, cancel);
        await db.ExecuteAsync(BenchSql.Observe, null, cancel);
        await db.ExecuteAsync(BenchSql.OpenUsage, null, cancel);
    }
}
