using System.Diagnostics;
using System.Security.Cryptography;
using Capsul.Demo;
using Capsul.Fleet;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Postgres;

namespace Capsul.Bench;

/// <summary>What happens to the active Hub.</summary>
enum Fault { Kill, Freeze, Cut }

/// <summary>The database, the two Hubs and the Spokes of <see cref="FailoverBench"/>.</summary>
sealed class FailoverRun(
    BenchDatabase database, DatabaseLine[] lines, Settings[] settings, Started[] hubs, FleetChild fleet,
    CancellationToken cancel) : IAsyncDisposable
{
    /// <summary>How long the database is frozen.</summary>
    public static readonly TimeSpan Frozen = TimeSpan.FromSeconds(30);

    static readonly TimeSpan StepLimit = TimeSpan.FromSeconds(60), StandbyLimit = TimeSpan.FromMinutes(2),
        SettleLimit = TimeSpan.FromMinutes(5), Look = TimeSpan.FromMilliseconds(20), Busy = TimeSpan.FromSeconds(2);

    static readonly FleetPlan Spokes = new(20, 20);

    /// <summary>A host that never answers, and its image.</summary>
    const string Silent = "silent";

    readonly FailoverPeople people = new();
    long operation;

    public static async Task<FailoverRun> StartAsync(string folder, CancellationToken cancel)
    {
        var database = await BenchDatabase.OpenAsync(
            HubRun.SettingsFor(Directory.CreateDirectory(Path.Combine(folder, "database")).FullName), cancel);
        database.Supervise();
        var key = Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));
        DatabaseLine[] lines = [new(database.ConnectionString), new(database.ConnectionString)];
        Settings[] settings = [.. ((string[])["a", "b"]).Select((name, n) => HubRun.SettingsFor(
            Directory.CreateDirectory(Path.Combine(folder, name)).FullName,
            ("CAPSUL_DATABASE", lines[n].ConnectionString), ("CAPSUL_SECRET_KEY", key),
            ("CAPSUL_CREATE_DEADLINE_SECONDS", "7200"))).Select(s =>
                // By which the Spokes find the other Hub.
                s.With(("CAPSUL_LINK_ADDRESS", $"127.0.0.1:{s.LinkPort}")))];
        var hubs = new Started[2];
        hubs[0] = await HubRun.StartAsync(settings[0], cancel);
        await HubRun.AwaitActiveAsync(settings[0], cancel);
        hubs[1] = await HubRun.StartAsync(settings[1], cancel);
        var fleet = FleetChild.Start(
            settings[0].With(("CAPSUL_DATABASE", database.ConnectionString)), Spokes);
        await Within.HoldsAsync(SettleLimit, "The settling of the Spokes", async token =>
            await fleet.FiguresAsync(token) is { Settled: true }, cancel);
        var run = new FailoverRun(database, lines, settings, hubs, fleet, cancel);
        await run.StartWaitingAsync();
        return run;
    }

    /// <summary>An operation that waits for a host that never answers.</summary>
    async Task StartWaitingAsync()
    {
        await database.Db.ExecuteAsync(BenchSql.AddSilentHost, new { host = Silent }, cancel);
        using var door = await people.SignInAsync(settings[0], "waiting", cancel);
        var visitor = new Visitor(door, settings[0].Data);
        await visitor.AddKeyAsync(cancel);
        await visitor.TopUpAsync("1000", cancel);
        var vm = await visitor.CreateAsync(FleetPlan.SizeId, Silent, "", cancel);
        operation = await database.Db.AskAsync<long>(BenchSql.OpenOperation, new { vm }, cancel);
    }

    /// <summary>Seconds from the fault until the operation has made a step.</summary>
    public async Task<double> FaultAsync(Fault fault, int number)
    {
        var active = await ActiveAsync();
        var seconds = await UnderLoadAsync(active, async () =>
        {
            if (fault == Fault.Cut) lines[active].Cut();
            else await hubs[active].SignalAsync(fault == Fault.Kill ? "KILL" : "STOP", cancel);
            var elapsed = await NextStepAsync();
            Console.WriteLine($"{fault} {number}: next step after {Figures.Text(elapsed)} s");
            return elapsed;
        }, async () =>
        {
            if (fault == Fault.Freeze) await hubs[active].SignalAsync("CONT", cancel);
            if (fault == Fault.Cut) lines[active].Mend();
        });
        if (fault == Fault.Kill)
        {
            await hubs[active].DisposeAsync();
            hubs[active] = await HubRun.StartAsync(settings[active], cancel);
        }
        await AwaitBothAsync();
        return seconds;
    }

    /// <summary>Seconds from when the server goes on until the operation has made a step.</summary>
    public async Task<double> FreezeDatabaseAsync()
    {
        var server = await database.ProcessesAsync(cancel);
        var seconds = await UnderLoadAsync(await ActiveAsync(), async () =>
        {
            await database.SignalAsync("STOP", server, cancel);
            await Task.Delay(Frozen, cancel);
            await database.SignalAsync("CONT", server, cancel);
            return await NextStepAsync();
        });
        Console.WriteLine($"database frozen: next step {Figures.Text(seconds)} s after");
        await AwaitBothAsync();
        return seconds;
    }

    /// <summary>Seconds from the end of the server until the operation has made a step; it is started again.</summary>
    public async Task<double> KillDatabaseAsync()
    {
        var server = await database.ProcessesAsync(cancel);
        var seconds = await UnderLoadAsync(await ActiveAsync(), async () =>
        {
            await database.SignalAsync("KILL", server, cancel);
            return await NextStepAsync();
        });
        Console.WriteLine($"database killed: next step after {Figures.Text(seconds)} s");
        await AwaitBothAsync();
        return seconds;
    }

    async Task<double> UnderLoadAsync(int hub, Func<Task<double>> act, Func<Task>? mend = null)
    {
        await using var load = await people.BeginAsync(settings[hub], cancel);
        await Task.Delay(Busy, cancel);
        var seconds = await act();
        load.Stop();
        if (mend is not null) await mend();
        return seconds;
    }

    /// <summary>Seconds until the operation, which is made due now, has made a step.</summary>
    async Task<double> NextStepAsync()
    {
        var clock = Stopwatch.StartNew();
        var woken = TimeProvider.System.GetUtcNow().UtcDateTime;
        await AnsweredAsync(() => database.Db.ExecuteAsync(BenchSql.Wake, new { id = operation, now = woken }, cancel));
        while (clock.Elapsed < StepLimit && !await AnsweredAsync(() =>
            database.Db.AskAsync<bool>(BenchSql.IsStepped, new { id = operation, woken }, cancel)))
            await Task.Delay(Look, cancel);
        return clock.Elapsed.TotalSeconds;
    }

    /// <summary>Repeats while the database is away.</summary>
    async Task<T> AnsweredAsync<T>(Func<Task<T>> ask)
    {
        for (var clock = Stopwatch.StartNew(); ; await Task.Delay(Look, cancel))
        {
            try
            {
                return await ask();
            }
            catch (Exception error) when (error is Npgsql.NpgsqlException or TimeoutException
                && clock.Elapsed < StepLimit)
            {
                // It is starting again.
            }
        }
    }

    /// <summary>Until there are an active Hub and a standby again.</summary>
    Task AwaitBothAsync() => Within.HoldsAsync(StandbyLimit, "An active Hub and a standby", async token =>
    {
        var said = new List<string?>();
        foreach (var each in settings)
        {
            using var client = new HttpClient { BaseAddress = HubRun.PagesOf(each) };
            said.Add(await HubRun.StatusAsync(client, token));
        }
        return said.Contains("acting", StringComparer.Ordinal) && said.Contains("standby", StringComparer.Ordinal);
    }, cancel);

    async Task<int> ActiveAsync()
    {
        var pid = await FleetMeter.FindHubAsync(database.Db, cancel);
        return Array.FindIndex(hubs, h => h.Id == pid) is >= 0 and var found ? found
            : throw new ProblemException(ProblemKind.Unavailable, "No Hub is active.");
    }

    /// <summary>
    /// When everything has come to rest: how much was acknowledged, and how much of it is not there exactly once.
    /// </summary>
    public async Task<(int Acknowledged, int Wrong)> CheckAsync()
    {
        await Within.HoldsAsync(SettleLimit, "The end of all operations", async token =>
            await database.Db.AskAsync<int>(BenchSql.CountOpen, new { operation }, token) == 0, cancel);
        var ids = people.Vms.ToArray();
        var wrongPayments = 0;
        foreach (var dollars in people.Payments)
        {
            if (await database.Db.AskAsync<int>(BenchSql.CountPayments, new { dollars }, cancel) != 1) wrongPayments++;
        }
        var wrongVms = await database.Db.AskAsync<int>(BenchSql.CountWrongVms, new { ids }, cancel);
        var wrongCharges = await database.Db.AskAsync<int>(BenchSql.CountWrongCharges, null, cancel);
        var wrongTotals = await CountWrongTotalsAsync();
        Console.WriteLine($"acknowledged: {people.Payments.Count} payments, {ids.Length} creates; wrong: "
            + $"{wrongPayments} payments, {wrongVms} VMs with operation, address and charge, {wrongCharges} charges of "
            + $"{Spokes.Vms + ids.Length} VMs, {wrongTotals} totals of accounts");
        return (people.Payments.Count + ids.Length, wrongPayments + wrongVms + wrongCharges + wrongTotals);
    }

    /// <summary>Recomputed, and taken back.</summary>
    async Task<int> CountWrongTotalsAsync()
    {
        var emails = (await database.Db.ListAsync<string>(BenchSql.Accounts, null, cancel)).ToArray();
        await using var connection = await database.Db.OpenAsync(cancel);
        await using var transaction = await connection.BeginTransactionAsync(cancel);
        var wrong = await transaction.AskAsync<int>(BillingSql.CorrectAccounts, new { emails }, cancel);
        await transaction.RollbackAsync(cancel);
        return wrong;
    }

    public async ValueTask DisposeAsync()
    {
        await fleet.DisposeAsync();
        foreach (var hub in hubs) await hub.DisposeAsync();
        foreach (var line in lines) await line.DisposeAsync();
        await database.DisposeAsync();
    }
}
