using System.Net;
using System.Text;
using Capsul.Fleet;
using Capsul.Foundation;
using Capsul.Postgres;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Capsul.Bench;

/// <summary>
/// The console of ten VMs at concurrency 16, against a bare page with one query on the same database in a process of
/// its own; they take turns. And the console and the billing page of an account with 2,000 VMs and ten years of
/// history, against one that is new.
/// </summary>
static class PagesBench
{
    const double Bar = 0.4, MaxOldRatio = 1.5;
    const int Concurrency = 16, Requests = 2000, WarmUps = 4, Rounds = 5, Reads = 40,
        OldVms = 2000;

    /// <summary>How this program is started as the bare page.</summary>
    public const string Bare = "bare-page";

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
            var share = await AgainstBareAsync(settings, hub, database, cancel);
            var old = await OldAgainstNewAsync(settings, database.Db, cancel);
            return Figures.Verdict(check, share >= Bar && old <= MaxOldRatio,
                $"pages: console of 10 VMs {Figures.Text(share)} of a bare page with one query (bar at least "
                + $"{Figures.Text(Bar)}; concurrency {Concurrency}), account with {OldVms} VMs and ten years "
                + $"{Figures.Text(old)} times a new one (bar {Figures.Text(MaxOldRatio)})");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Median of requests a second in relation to the bare page's.</summary>
    static async Task<double> AgainstBareAsync(
        Settings settings, Started hub, BenchDatabase database, CancellationToken cancel)
    {
        var port = Ports.TakeFree();
        var email = FleetPlan.AccountName(1);
        await using var process = Started.Run(Environment.ProcessPath!,
            new Dictionary<string, string?>(StringComparer.Ordinal) { ["BENCH_DATABASE"] = database.ConnectionString },
            Bare, $"{port}");
        using var bare = await SignedIn.EnterAsync(database.Db, new Uri($"http://127.0.0.1:{port}/"), email, cancel);
        using var ours = await SignedIn.EnterAsync(database.Db, HubRun.PagesOf(settings), email, cancel);
        await Within.HoldsAsync(PageLimit, "The bare page", async token =>
        {
            try
            {
                await bare.ReadAsync($"/{email}", token);
                return true;
            }
            catch (HttpRequestException)
            {
                return false;
            }
        }, cancel);
        var ratios = new List<double>();
        Task<double> BareAsync() =>
            RateAsync("bare page", () => bare.RateAsync($"/{email}", Requests, Concurrency, cancel), process, database);
        Task<double> OursAsync() =>
            RateAsync("console", () => ours.RateAsync("/console", Requests, Concurrency, cancel), hub, database);
        // The first rounds warm up both: the runtime compiles what is used often once more.
        for (var n = -WarmUps; n < Rounds; n++)
        {
            var first = n % 2 == 0 ? await BareAsync() : 0;
            var rate = await OursAsync();
            if (n % 2 != 0) first = await BareAsync();
            var counts = n < 0 ? ", which does not count" : "";
            Console.WriteLine($"round {n,2}: ratio {Figures.Text(rate / first)}{counts}");
            if (n >= 0) ratios.Add(rate / first);
        }
        return Figures.Median(ratios);
    }

    /// <summary>Prints the rate, and what a request costs the program that answers, and the database.</summary>
    static async Task<double> RateAsync(
        string what, Func<Task<double>> run, Started program, BenchDatabase database)
    {
        var (own, server) = (ProcessCost.Of(program.Id)!, await database.CpuSecondsAsync(CancellationToken.None));
        var rate = await run();
        var (ownAfter, serverAfter) =
            (ProcessCost.Of(program.Id)!, await database.CpuSecondsAsync(CancellationToken.None));
        string PerRequest(double seconds) => Figures.Text(seconds * 1000 / Requests);
        Console.WriteLine($"{what}: {Figures.Text(rate, "0")} requests/s; CPU a request: program "
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

    /// <summary>The bare page's process: what ASP.NET Core and one query cost.</summary>
    public static async Task<int> ServeBareAsync(int port)
    {
        await using var db = new Db(Environment.GetEnvironmentVariable("BENCH_DATABASE")!);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port));
        await using var app = builder.Build();
        app.MapGet("/{email}", async (string email, CancellationToken cancel) =>
        {
            var page = new StringBuilder("<!doctype html><title>Bare</title><ul>");
            foreach (var name in await db.ListAsync<string>(BenchSql.Names, new { email }, cancel))
                page.Append("<li>").Append(WebUtility.HtmlEncode(name));
            return Results.Text(page.Append("</ul>").ToString(), "text/html");
        });
        await app.RunAsync();
        return 0;
    }
}
