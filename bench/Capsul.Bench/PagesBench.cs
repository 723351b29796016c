using Capsul.Fleet;
using Capsul.Foundation;
using Capsul.Postgres;

namespace Capsul.Bench;

/// <summary>
/// The console of ten VMs at concurrency 16, against a bare page with one query on the same database in a process of
/// its own, and a bare Razor Page in another; they take turns. And the console and the billing page of an account with
/// 2,000 VMs and ten years of history, against one that is new.
/// </summary>
static class PagesBench
{
    const double Bar = 0.4, MaxOldRatio = 1.5;
    const int Concurrency = 16, Requests = 2000, WarmUps = 4, Rounds = 5, Reads = 40,
        OldVms = 2000;

    static readonly TimeSpan PageLimit = TimeSpan.FromMinutes(2);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            var settings = HubRun.SettingsFor(folder);
            await using var hub = await HubRun.StartAsync(settings, cancel);
            await using var database = await BenchDatabase.OpenAsync(settings, cancel);
            var plan = new FleetPlan(50, 100) { LargestAccount = OldVms };
            await BenchRows.FillAsync(database.Db, plan, cancel);
            await database.Db.ExecuteAsync(BenchSql.AddHistory, new { email = FleetPlan.AccountName(0) }, cancel);
            await database.Db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
            var (share, ofRazor) = await AgainstBareAsync(settings, hub, database, cancel);
            var old = await OldAgainstNewAsync(settings, database.Db, cancel);
            return Figures.Verdict(check, share >= Bar && old <= MaxOldRatio,
                $"pages: console of 10 VMs {Figures.Text(share)} of a bare page with one query (bar at least "
                + $"{Figures.Text(Bar)}; concurrency {Concurrency}), {Figures.Text(ofRazor)} of a bare Razor Page, "
                + $"account with {OldVms} VMs and ten years {Figures.Text(old)} times a new one (bar "
                + $"{Figures.Text(MaxOldRatio)})");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>One of those that take turns.</summary>
    sealed record Side(string Name, Started Program, SignedIn Reader, string Path) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync()
        {
            Reader.Dispose();
            await Program.DisposeAsync();
        }
    }

    /// <summary>Medians of requests a second in relation to the bare page's, and to the bare Razor Page's.</summary>
    static async Task<(double OfPage, double OfRazor)> AgainstBareAsync(
        Settings settings, Started hub, BenchDatabase database, CancellationToken cancel)
    {
        var email = FleetPlan.AccountName(1);
        await using var bare = await StartAsync("bare page", BarePages.Handler, database, email, cancel);
        await using var razor = await StartAsync("bare Razor Page", BarePages.Razor, database, email, cancel);
        using var reader = await SignedIn.EnterAsync(database.Db, HubRun.PagesOf(settings), email, cancel);
        Side[] sides = [bare, new Side("console", hub, reader, "/console"), razor];
        var (ofPage, ofRazor) = (new List<double>(), new List<double>());
        // The first rounds warm up all: the runtime compiles what is used often once more.
        for (var n = -WarmUps; n < Rounds; n++)
        {
            // The console is in the middle: beside both.
            var rates = new Dictionary<string, double>(StringComparer.Ordinal);
            foreach (var side in n % 2 == 0 ? sides : Enumerable.Reverse(sides))
                rates[side.Name] = await RateAsync(side, database, cancel);
            var (page, other) = (rates["console"] / rates[bare.Name], rates["console"] / rates[razor.Name]);
            var counts = n < 0 ? ", which does not count" : "";
            Console.WriteLine(
                $"round {n,2}: ratio {Figures.Text(page)}, to the bare Razor Page {Figures.Text(other)}{counts}");
            if (n < 0) continue;
            ofPage.Add(page);
            ofRazor.Add(other);
        }
        return (Figures.Median(ofPage), Figures.Median(ofRazor));
    }

    /// <summary>A bare page in a process of its own, which answers.</summary>
    static async Task<Side> StartAsync(
        string name, string mode, BenchDatabase database, string email, CancellationToken cancel)
    {
        var port = Ports.TakeFree();
        var process = Started.Run(Environment.ProcessPath!, new Dictionary<string, string?>(StringComparer.Ordinal)
        {
            [BarePages.Database] = database.ConnectionString,
        }, mode, $"{port}");
        var reader = await SignedIn.EnterAsync(database.Db, new Uri($"http://127.0.0.1:{port}/"), email, cancel);
        var side = new Side(name, process, reader, $"/{email}");
        await Within.HoldsAsync(PageLimit, $"The {name}", async token =>
        {
            try
            {
                await reader.ReadAsync(side.Path, token);
                return true;
            }
            catch (HttpRequestException)
            {
                return false;
            }
        }, cancel);
        return side;
    }

    /// <summary>Prints the rate, and what a request costs the program that answers, and the database.</summary>
    static async Task<double> RateAsync(Side side, BenchDatabase database, CancellationToken cancel)
    {
        var (own, server) = (ProcessCost.Of(side.Program.Id)!, await database.CpuSecondsAsync(cancel));
        var rate = await side.Reader.RateAsync(side.Path, Requests, Concurrency, cancel);
        var (ownAfter, serverAfter) = (ProcessCost.Of(side.Program.Id)!, await database.CpuSecondsAsync(cancel));
        string PerRequest(double seconds) => Figures.Text(seconds * 1000 / Requests);
        Console.WriteLine($"{side.Name}: {Figures.Text(rate, "0")} requests/s; CPU a request: program "
            + $"{PerRequest(ownAfter.CpuSeconds - own.CpuSeconds)} ms, database {PerRequest(serverAfter - server)} ms");
        return rate;
    }

    /// <summary>The larger ratio of two pages' medians.</summary>
    static async Task<double> OldAgainstNewAsync(Settings settings, Db db, CancellationToken cancel)
    {
        using var old = await SignedIn.EnterAsync(db, HubRun.PagesOf(settings), FleetPlan.AccountName(0), cancel);
        using var fresh = await SignedIn.EnterAsync(db, HubRun.PagesOf(settings), FleetPlan.AccountName(2), cancel);
        var worst = 0.0;
        foreach (var path in (string[])["/console", "/balance"])
        {
            await old.TimesAsync(path, Reads / 4, cancel);
            var (slow, fast) = (new List<double>(), new List<double>());
            for (var n = 0; n < 4; n++)
            {
                fast.AddRange(await fresh.TimesAsync(path, Reads, cancel));
                slow.AddRange(await old.TimesAsync(path, Reads, cancel));
            }
            Console.WriteLine($"{path}: {Figures.Text(Figures.Median(slow), "0.0")} ms with {OldVms} VMs and ten "
                + $"years, {Figures.Text(Figures.Median(fast), "0.0")} ms with 10 VMs and a day");
            worst = Math.Max(worst, Figures.Median(slow) / Figures.Median(fast));
        }
        return worst;
    }
}
