using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using Capsul.Demo;
using Capsul.Fleet;
using Capsul.Foundation;

namespace Capsul.Bench;

/// <summary>
/// Two Hubs on one database. The active one is killed, frozen, or cut off from the database without a word, while
/// people pay and create; an operation is due at that moment, and the clock runs until the other Hub has made its
/// next step. Then the fault ends, and whatever was under way goes on. Afterwards everything that was acknowledged must
/// be there exactly once.
/// </summary>
static class FailoverBench
{
    const double MaxKillSeconds = 3, MaxFreezeSeconds = 15;
    const int Kills = 20, Freezes = 5, Cuts = 5;
    static readonly TimeSpan StepLimit = TimeSpan.FromSeconds(60), StandbyLimit = TimeSpan.FromMinutes(2),
        Look = TimeSpan.FromMilliseconds(20), Busy = TimeSpan.FromSeconds(2);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            await using var run = await Run.StartAsync(folder, cancel);
            var kills = new List<double>();
            for (var n = 1; n <= Kills; n++) kills.Add(await run.FaultAsync("KILL", n));
            var freezes = new List<double>();
            for (var n = 1; n <= Freezes; n++) freezes.Add(await run.FaultAsync("STOP", n));
            var cuts = new List<double>();
            for (var n = 1; n <= Cuts; n++) cuts.Add(await run.FaultAsync("cut", n));
            var (acknowledged, wrong) = await run.CheckAsync();
            var (kill, freeze, cut) = (Figures.Median(kills), freezes.Max(), cuts.Max());
            return Figures.Verdict(check,
                kill <= MaxKillSeconds && Math.Max(freeze, cut) <= MaxFreezeSeconds && wrong == 0,
                $"failover: {Kills} kills to the next step median {Figures.Text(kill)} s (bar {MaxKillSeconds}; at "
                + $"most {Figures.Text(kills.Max())} s), {Freezes} freezes at most {Figures.Text(freeze)} s and "
                + $"{Cuts} cuts at most {Figures.Text(cut)} s (bar {MaxFreezeSeconds}), {wrong} of {acknowledged} "
                + "acknowledged payments and creates missing or double");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    sealed class Run(
        BenchDatabase database, DatabaseLine[] lines, Settings[] settings, Started[] hubs, CancellationToken cancel)
        : IAsyncDisposable
    {
        const string Email = "bench@example.org";
        readonly ConcurrentBag<decimal> payments = [];
        readonly ConcurrentBag<string> vms = [];
        long operation;
        int paid, people;

        public static async Task<Run> StartAsync(string folder, CancellationToken cancel)
        {
            var database = await BenchDatabase.OpenAsync(
                HubRun.SettingsFor(Directory.CreateDirectory(Path.Combine(folder, "database")).FullName), cancel);
            var key = Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));
            DatabaseLine[] lines = [new(database.ConnectionString), new(database.ConnectionString)];
            Settings[] settings = [.. ((string[])["a", "b"]).Select((name, n) => HubRun.SettingsFor(
                Directory.CreateDirectory(Path.Combine(folder, name)).FullName,
                ("CAPSUL_DATABASE", lines[n].ConnectionString), ("CAPSUL_SECRET_KEY", key),
                ("CAPSUL_CREATE_DEADLINE_SECONDS", "7200")))];
            var hubs = new Started[2];
            hubs[0] = await HubRun.StartAsync(settings[0], cancel);
            await HubRun.AwaitActiveAsync(settings[0], cancel);
            hubs[1] = await HubRun.StartAsync(settings[1], cancel);
            await BenchRows.FillAsync(database.Db, new FleetPlan(20, 20), cancel);
            var run = new Run(database, lines, settings, hubs, cancel);
            await run.OpenAccountAsync();
            return run;
        }

        /// <summary>Money for all that is created, and an operation that waits for a host that never answers.</summary>
        async Task OpenAccountAsync()
        {
            using var door = new FrontDoor(HubRun.PagesOf(settings[0]));
            await door.SignInAsync(Email, cancel);
            var visitor = new Visitor(door, settings[0].Data);
            await visitor.AddKeyAsync(cancel);
            for (var n = 0; n < 5; n++) await visitor.TopUpAsync("1000", cancel);
            var vm = await visitor.CreateAsync(FleetPlan.SizeId, FleetPlan.ImageId, "", cancel);
            operation = await database.Db.AskAsync<long>(BenchSql.OpenOperation, new { vm }, cancel);
        }

        /// <summary>Seconds from the signal until the operation has made a step.</summary>
        public async Task<double> FaultAsync(string signal, int number)
        {
            var active = await ActiveAsync();
            using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            // One after another: a sign-in uses the newest development email. Others each time, below all limits.
            using var payer = await SignInAsync(active, "payer");
            using var creator = await SignInAsync(active, "creator");
            var visitor = new Visitor(creator, settings[active].Data);
            await visitor.AddKeyAsync(cancel);
            await visitor.TopUpAsync("1000", cancel);
            var users = Task.WhenAll(
                UseAsync(() => PayAsync(payer, stop.Token)),
                UseAsync(async () => vms.Add(
                    await visitor.CreateAsync(FleetPlan.SizeId, FleetPlan.ImageId, "", stop.Token))));
            await Task.Delay(Busy, cancel);
            if (signal == "cut") lines[active].Cut();
            else await hubs[active].SignalAsync(signal, cancel);
            var clock = Stopwatch.StartNew();
            var woken = TimeProvider.System.GetUtcNow().UtcDateTime;
            await database.Db.ExecuteAsync(BenchSql.Wake, new { id = operation, now = woken }, cancel);
            while (clock.Elapsed < StepLimit
                && !await database.Db.AskAsync<bool>(BenchSql.IsStepped, new { id = operation, woken }, cancel))
                await Task.Delay(Look, cancel);
            var seconds = clock.Elapsed.TotalSeconds;
            Console.WriteLine($"{signal} {number}: next step after {Figures.Text(seconds)} s");
            await stop.CancelAsync();
            if (signal == "STOP") await hubs[active].SignalAsync("CONT", cancel);
            if (signal == "cut") lines[active].Mend();
            await users;
            await MendAsync(signal, active);
            return seconds;
        }

        /// <summary>Until there are an active Hub and a standby again.</summary>
        async Task MendAsync(string signal, int hub)
        {
            if (signal == "KILL")
            {
                await hubs[hub].DisposeAsync();
                hubs[hub] = await HubRun.StartAsync(settings[hub], cancel);
            }
            await Within.HoldsAsync(StandbyLimit, "An active Hub and a standby", async token =>
            {
                var said = new List<string?>();
                foreach (var each in settings)
                {
                    using var client = new HttpClient { BaseAddress = HubRun.PagesOf(each) };
                    said.Add(await HubRun.StatusAsync(client, token));
                }
                return said.Contains("acting", StringComparer.Ordinal)
                    && said.Contains("standby", StringComparer.Ordinal);
            }, cancel);
        }

        async Task<int> ActiveAsync()
        {
            var pid = await FleetMeter.FindHubAsync(database.Db, cancel);
            return Array.FindIndex(hubs, h => h.Id == pid) is >= 0 and var found ? found
                : throw new ProblemException(ProblemKind.Unavailable, "No Hub is active.");
        }

        async Task<FrontDoor> SignInAsync(int hub, string who)
        {
            var number = ++people;
            var door = new FrontDoor(HubRun.PagesOf(settings[hub]), $"10.1.{number}.1");
            await door.SignInAsync($"{who}-{number}@example.org", cancel);
            return door;
        }

        /// <summary>Somebody who goes on until the Hub is gone; only what it acknowledged counts.</summary>
        static async Task UseAsync(Func<Task> act)
        {
            try
            {
                while (true) await act();
            }
            catch (Exception error) when (error is HttpRequestException or ProblemException
                or OperationCanceledException or IOException)
            {
                // The fault; or a limit, which is an answer.
            }
        }

        /// <summary>Every payment is of another amount, by which it is found again.</summary>
        async Task PayAsync(FrontDoor door, CancellationToken stop)
        {
            var dollars = 1 + Interlocked.Increment(ref paid) / 100m;
            var form = await door.OpenFormAsync("/balance", "/balance", stop);
            await door.PostAsync(form,
                [KeyValuePair.Create("Dollars", dollars.ToString("0.00", CultureInfo.InvariantCulture))], stop);
            payments.Add(dollars);
        }

        /// <summary>How much was acknowledged, and how much of it is not there exactly once.</summary>
        public async Task<(int Acknowledged, int Wrong)> CheckAsync()
        {
            var wrong = 0;
            foreach (var dollars in payments)
            {
                if (await database.Db.AskAsync<int>(BenchSql.CountPayments, new { dollars }, cancel) != 1) wrong++;
            }
            foreach (var id in vms)
            {
                if (await database.Db.AskAsync<int>(BenchSql.CountVms, new { id }, cancel) != 1) wrong++;
            }
            Console.WriteLine($"acknowledged: {payments.Count} payments, {vms.Count} creates");
            return (payments.Count + vms.Count, wrong);
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var hub in hubs) await hub.DisposeAsync();
            foreach (var line in lines) await line.DisposeAsync();
            await database.DisposeAsync();
        }
    }
}
