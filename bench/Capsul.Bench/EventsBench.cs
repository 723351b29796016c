using System.Diagnostics;
using Capsul.Fleet;
using Capsul.Foundation;

namespace Capsul.Bench;

/// <summary>
/// A thousand open event streams of as many accounts, and a hundred VMs a second that change: first VMs of accounts
/// that nobody watches, for which no query may run, then of all. The change is an update in the database, which is how
/// another process tells the Hub.
/// </summary>
static class EventsBench
{
    const double MaxCpu = 10;
    const int Streams = 1000, ChangesPerSecond = 100, Seconds = 30;
    static readonly TimeSpan Calm = TimeSpan.FromSeconds(12);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            var settings = HubRun.SettingsFor(folder);
            await using var hub = await HubRun.StartAsync(settings, cancel);
            await using var database = await BenchDatabase.OpenAsync(settings, cancel);
            var plan = new FleetPlan(100, 110) { LargestAccount = 100 };
            await BenchRows.FillAsync(database.Db, plan, cancel);
            await database.Db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
            var vms = Enumerable.Range(0, plan.Spokes).SelectMany(plan.VmsOf).ToList();
            // The first account is watched by nobody.
            var watched = plan.Accounts.Skip(1).Take(Streams).ToList();
            await using var streams = await OpenAsync(settings, database, watched, cancel);
            var idle = await MeasureAsync("nothing changes", hub, database, [], cancel);
            var foreign = await MeasureAsync($"{ChangesPerSecond} VMs a second of others", hub, database,
                [.. vms.Where(v => v.Email == FleetPlan.AccountName(0)).Select(v => v.Id)], cancel);
            var own = await MeasureAsync($"{ChangesPerSecond} VMs a second of all", hub, database,
                [.. vms.Where(v => v.Email != FleetPlan.AccountName(0)).Select(v => v.Id)], cancel);
            var vain = Math.Max(0, foreign.Reads - idle.Reads);
            return Figures.Verdict(check, foreign.Cpu <= MaxCpu && own.Cpu <= MaxCpu && vain < 1,
                $"events: {Streams} streams, {ChangesPerSecond} changes/s: Hub {Figures.Text(foreign.Cpu, "0.0")} % of "
                + $"a core for others' VMs, {Figures.Text(own.Cpu, "0.0")} % for everybody's (bar {MaxCpu}), "
                + $"{Figures.Text(vain, "0")} reads/s for accounts that did not change (bar 0)");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task<OpenStreams> OpenAsync(
        Settings settings, BenchDatabase database, List<string> accounts, CancellationToken cancel)
    {
        var streams = new OpenStreams();
        await Parallel.ForEachAsync(
            accounts, new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = cancel },
            async (email, token) => await streams.AddAsync(
                await SignedIn.EnterAsync(database.Db, HubRun.PagesOf(settings), email, token), token));
        Console.WriteLine($"{streams.Count} streams are open");
        return streams;
    }

    /// <summary>
    /// CPU of the Hub in % of a core, and scans of the table of VMs a second without the updates' own.
    /// </summary>
    static async Task<(double Cpu, double Reads)> MeasureAsync(
        string what, Started hub, BenchDatabase database, string[] ids, CancellationToken cancel)
    {
        // Statistics of PostgreSQL are behind by some seconds.
        await Task.Delay(Calm, cancel);
        var (cpu, reads, updates) = (ProcessCost.Of(hub.Id)!.CpuSeconds, await ReadsAsync(database, cancel), 0);
        var clock = Stopwatch.StartNew();
        using var second = new PeriodicTimer(TimeSpan.FromSeconds(1));
        for (var n = 0; n < Seconds; n++)
        {
            await second.WaitForNextTickAsync(cancel);
            if (ids.Length == 0) continue;
            var chosen = Enumerable.Range(n * ChangesPerSecond, ChangesPerSecond).Select(k => ids[k % ids.Length])
                .Distinct(StringComparer.Ordinal).ToArray();
            await database.Db.ExecuteAsync(BenchSql.Change, new { ids = chosen, problem = $"bench {n}" }, cancel);
            updates += chosen.Length;
        }
        var took = clock.Elapsed.TotalSeconds;
        var percent = 100 * (ProcessCost.Of(hub.Id)!.CpuSeconds - cpu) / took;
        await Task.Delay(Calm, cancel);
        var rate = (await ReadsAsync(database, cancel) - reads - updates) / clock.Elapsed.TotalSeconds;
        Console.WriteLine($"{what}: Hub {Figures.Text(percent, "0.0")} % of a core, {Figures.Text(rate, "0")} reads/s");
        return (percent, rate);
    }

    static Task<long> ReadsAsync(BenchDatabase database, CancellationToken cancel) =>
        database.Db.AskAsync<long>(BenchSql.Reads, null, cancel);

    /// <summary>Each is read to its end; one that the Hub ends is opened again, as a browser does.</summary>
    sealed class OpenStreams : IAsyncDisposable
    {
        readonly CancellationTokenSource stop = new();
        readonly System.Collections.Concurrent.ConcurrentBag<Task> reading = [];

        public int Count => reading.Count;

        public async Task AddAsync(SignedIn person, CancellationToken cancel)
        {
            var first = await person.OpenAsync("/console/events", cancel);
            reading.Add(ReadAsync(person, first));
        }

        async Task ReadAsync(SignedIn person, HttpResponseMessage answer)
        {
            using (person)
            {
                var buffer = new byte[1024];
                while (true)
                {
                    using (answer)
                    {
                        var stream = await answer.Content.ReadAsStreamAsync(stop.Token);
                        while (await stream.ReadAsync(buffer, stop.Token) > 0)
                        {
                            // What it says is a matter of tests.
                        }
                    }
                    answer = await person.OpenAsync("/console/events", stop.Token);
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            await stop.CancelAsync();
            await Task.WhenAll(reading).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            stop.Dispose();
        }
    }
}
