using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Dapper;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// An hour's metering of 50,000 VMs, each of its own account. And the balance page, and what creating a VM checks, of
/// an account with ten years of history against a new one's.
/// </summary>
static class MeteringBench
{
    const int Vms = 50_000, Hours = 5, Reads = 60, Rounds = 6;
    const int FillSeconds = 900;
    const double HourBarSeconds = 10, OldBar = 1.2;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            var settings = HubRun.SettingsFor(folder);
            await using var database = await BenchDatabase.OpenAsync(settings, cancel);
            var db = database.Db;
            await new Migrator(db, NullLogger.Instance).MigrateAsync(cancel);
            var now = TimeProvider.System.GetUtcNow().UtcDateTime;
            var began = now.AddTicks(-(now.Ticks % TimeSpan.TicksPerHour)) - TimeSpan.FromHours(Hours + 1);
            await FillAsync(db, LedgerBenchSql.AddMetered, new { count = Vms, began }, cancel);
            await db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
            var hour = await HoursAsync(db, began, cancel);
            await FillAsync(db, LedgerBenchSql.AddAges, null, cancel);
            await db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
            var create = await ChecksAsync(db, settings, cancel);
            var page = await PagesAsync(settings, db, cancel);
            return Figures.Verdict(check, hour <= HourBarSeconds && create <= OldBar && page <= OldBar,
                $"metering: an hour of {Vms} VMs {Figures.Text(hour, "0.0")} s (bar "
                + $"{Figures.Text(HourBarSeconds, "0")} s); with ten years of history the balance page takes "
                + $"{Figures.Text(page)} and the check of a create {Figures.Text(create)} times a new account's (bar "
                + $"{Figures.Text(OldBar)} each)");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Takes longer than a statement of the program may.</summary>
    static async Task FillAsync(Db db, string sql, object? parameters, CancellationToken cancel)
    {
        await using var connection = await db.OpenAloneAsync("bench", cancel);
        await connection.ExecuteAsync(
            new CommandDefinition(sql, parameters, commandTimeout: FillSeconds, cancellationToken: cancel));
    }

    /// <summary>
    /// Seconds of the slowest hour but the first, which opens the ledger accounts of all customers.
    /// </summary>
    static async Task<double> HoursAsync(Db db, DateTime began, CancellationToken cancel)
    {
        var epoch = await db.AskAsync<long>(SeatSql.Take, new { holder = "bench", linkAddress = "" }, cancel);
        var fence = new Fence(db, new Listener(db, TimeProvider.System, NullLogger<Listener>.Instance));
        var metering = new Metering(db, fence, TimeProvider.System);
        var worst = 0.0;
        for (var n = 1; n <= Hours; n++)
        {
            var clock = Stopwatch.StartNew();
            await metering.PostAsync(epoch, began + TimeSpan.FromHours(n), cancel);
            if (n > 1) worst = Math.Max(worst, clock.Elapsed.TotalSeconds);
            Console.WriteLine($"hour {n}: {Figures.Text(clock.Elapsed.TotalSeconds, "0.0")} s");
            if (n == 1) await db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
        }
        return worst;
    }

    /// <summary>Everything that creating a VM does before it looks for a host: it is refused for its image.</summary>
    static Task<double> ChecksAsync(Db db, Settings settings, CancellationToken cancel) =>
        RatioAsync("check of a create", async (email, token) =>
        {
            var input = new CreateVm.Input(null, "f1-s", "none", []);
            var refused = await CreateVm.RunAsync(db, email, input, settings, TimeProvider.System, token);
            if (refused.Problem?.Field != "Image") throw new InvalidOperationException("It was not refused.");
        }, cancel);

    static async Task<double> PagesAsync(Settings settings, Db db, CancellationToken cancel)
    {
        await using var hub = await HubRun.StartAsync(settings, cancel);
        using var old = await SignedIn.EnterAsync(db, HubRun.PagesOf(settings), Old, cancel);
        using var fresh = await SignedIn.EnterAsync(db, HubRun.PagesOf(settings), New, cancel);
        return await RatioAsync("/balance",
            (email, token) => (email == Old ? old : fresh).ReadAsync("/balance", token), cancel);
    }

    const string Old = "old@example.org", New = "new@example.org";

    /// <summary>The ratio of the medians of old and new, in turns; the first turn warms up.</summary>
    static async Task<double> RatioAsync(
        string what, Func<string, CancellationToken, Task> work, CancellationToken cancel)
    {
        var (slow, fast) = (new List<double>(), new List<double>());
        for (var n = 0; n <= Rounds; n++)
        {
            foreach (var email in (string[])[Old, New])
            {
                for (var read = 0; read < Reads; read++)
                {
                    var clock = Stopwatch.StartNew();
                    await work(email, cancel);
                    if (n > 0) (email == Old ? slow : fast).Add(clock.Elapsed.TotalMilliseconds);
                }
            }
        }
        Console.WriteLine($"{what}: {Figures.Text(Figures.Median(slow), "0.00")} ms with ten years, "
            + $"{Figures.Text(Figures.Median(fast), "0.00")} ms new");
        return Figures.Median(slow) / Figures.Median(fast);
    }
}
