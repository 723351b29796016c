using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using Capsul.Fleet;
using Capsul.Foundation;
using Capsul.Hub;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Bench;

/// <summary>A program that a bench has started, and ends.</summary>
sealed class Started : IAsyncDisposable
{
    static readonly TimeSpan EndLimit = TimeSpan.FromMinutes(2);
    readonly Process process;
    readonly Lock gate = new();
    readonly Queue<string> said = new();

    Started(Process process) => this.process = process;

    public int Id => process.Id;

    public bool HasExited => process.HasExited;

    /// <summary>The last lines that it printed.</summary>
    public string Said
    {
        get { lock (gate) return string.Join('\n', said); }
    }

    public static Started Run(
        string program, IReadOnlyDictionary<string, string?> environment, params string[] arguments)
    {
        var info = new ProcessStartInfo(program)
        { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments) info.ArgumentList.Add(argument);
        foreach (var (name, value) in environment)
        {
            if (value is null) info.Environment.Remove(name);
            else info.Environment[name] = value;
        }
        var started = new Started(Process.Start(info)!);
        started.process.OutputDataReceived += (_, line) => started.Hear(line.Data);
        started.process.ErrorDataReceived += (_, line) => started.Hear(line.Data);
        started.process.BeginOutputReadLine();
        started.process.BeginErrorReadLine();
        return started;
    }

    void Hear(string? line)
    {
        if (line is null) return;
        lock (gate)
        {
            said.Enqueue(line);
            if (said.Count > 20) said.Dequeue();
        }
    }

    /// <summary>TERM, KILL, STOP, CONT.</summary>
    public Task SignalAsync(string signal, CancellationToken cancel) => new Command(
        "kill", $"-{signal}", process.Id.ToString(CultureInfo.InvariantCulture)).RunAsync(cancel);

    public async Task EndAsync(string signal, CancellationToken cancel)
    {
        if (!process.HasExited) await SignalAsync(signal, cancel);
        await Within.LimitAsync(EndLimit, "The end of a program", process.WaitForExitAsync, cancel);
    }

    public async ValueTask DisposeAsync()
    {
        if (!process.HasExited) await EndAsync("TERM", CancellationToken.None);
        process.Dispose();
    }
}

/// <summary>A Hub as people start it: the program that is compiled ahead of time, in a process of its own.</summary>
static class HubRun
{
    static readonly TimeSpan PageLimit = TimeSpan.FromMinutes(3), ActiveLimit = TimeSpan.FromMinutes(2);

    public static Settings SettingsFor(string folder, params (string Name, string Value)[] more)
    {
        var settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_ENVIRONMENT"] = "development",
            ["CAPSUL_PORT"] = "0",
            ["CAPSUL_LINK_PORT"] = "0",
            ["CAPSUL_BACKUP_SCHEDULE"] = "off",
            ["CAPSUL_MAX_VMS"] = "10000",
            ["CAPSUL_BUILD_SLOTS"] = "1000",
        };
        foreach (var (name, value) in more) settings[name] = value;
        return HubProgram.WithPorts(Settings.Load(settings));
    }

    public static string MakeFolder()
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        return folder;
    }

    public static Uri PagesOf(Settings settings) => new($"http://127.0.0.1:{settings.Port}/");

    /// <summary>Returns at once.</summary>
    public static Started Begin(Settings settings) =>
        Started.Run(Fronts.Program, settings.ToEnvironment(), "up", "--hub");

    /// <summary>Returns when the pages answer.</summary>
    public static async Task<Started> StartAsync(Settings settings, CancellationToken cancel)
    {
        var hub = Begin(settings);
        using var client = new HttpClient { BaseAddress = PagesOf(settings) };
        await Within.HoldsAsync(PageLimit, "The start of the Hub", async token =>
            hub.HasExited ? throw new ProblemException(ProblemKind.Unavailable, $"The Hub ended: {hub.Said}")
                : await StatusAsync(client, token) is not null, cancel);
        return hub;
    }

    public static Task AwaitActiveAsync(Settings settings, CancellationToken cancel) =>
        Within.LimitAsync(ActiveLimit, "The Hub's becoming active", async token =>
        {
            using var client = new HttpClient { BaseAddress = PagesOf(settings) };
            while (await StatusAsync(client, token) != "acting") await Task.Delay(Within.LookEvery, token);
        }, cancel);

    sealed record Health(string Status);

    /// <summary>Null: it does not answer.</summary>
    public static async Task<string?> StatusAsync(HttpClient client, CancellationToken cancel)
    {
        try
        {
            return (await client.GetFromJsonAsync<Health>("/healthz", cancel))?.Status;
        }
        catch (HttpRequestException)
        {
            return null;
        }
    }
}

/// <summary>A private cluster that a bench keeps running whatever happens to its Hubs.</summary>
sealed class BenchDatabase : IAsyncDisposable
{
    readonly EmbeddedPostgres server;
    readonly CancellationTokenSource supervision = new();
    Task supervised = Task.CompletedTask;

    BenchDatabase(EmbeddedPostgres server, string connectionString) =>
        (this.server, ConnectionString, Db) = (server, connectionString, new Db(connectionString));

    public string ConnectionString { get; }

    public Db Db { get; }

    public static async Task<BenchDatabase> OpenAsync(Settings settings, CancellationToken cancel)
    {
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        // Rows of ten years take longer than a page may.
        var patient = new NpgsqlConnectionStringBuilder(connection) { CommandTimeout = 600 };
        return new BenchDatabase(server, patient.ConnectionString);
    }

    /// <summary>CPU of the whole server so far, seconds.</summary>
    public async Task<double> CpuSecondsAsync(CancellationToken cancel) =>
        ProcessCost.OfServer((await CountersAsync(cancel)).Backend)!.CpuSeconds;

    /// <summary>A server that dies is started again, as a Hub does with its own.</summary>
    public void Supervise() => supervised = server.KeepRunningAsync(supervision.Token);

    /// <summary>STOP, CONT or KILL to every process of the server.</summary>
    public async Task SignalAsync(string signal, IReadOnlyList<int> processes, CancellationToken cancel) =>
        await new Command("kill",
            [$"-{signal}", .. processes.Select(p => p.ToString(CultureInfo.InvariantCulture))]).TryRunAsync(cancel);

    public async Task<IReadOnlyList<int>> ProcessesAsync(CancellationToken cancel) =>
        ProcessCost.ServerProcesses((await CountersAsync(cancel)).Backend);

    public Task<FleetCountersRow> CountersAsync(CancellationToken cancel) =>
        Db.AskAsync<FleetCountersRow>(FleetSql.Counters, null, cancel);

    public async ValueTask DisposeAsync()
    {
        await supervision.CancelAsync();
        await supervised.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        supervision.Dispose();
        await Db.DisposeAsync();
        await server.StopAsync(CancellationToken.None);
    }
}

/// <summary>A fleet's process without a Hub of its own, whose figures are read over its page.</summary>
sealed class FleetChild : IAsyncDisposable
{
    sealed record Answer(FleetFigures? Figures, IReadOnlyList<KeyValuePair<string, long>> Reasons);

    readonly Started process;
    readonly HttpClient client;

    FleetChild(Started process, int page) => (this.process, client) =
        (process, new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{page}/") });

    public static FleetChild Start(Settings hub, FleetPlan plan)
    {
        var page = Ports.TakeFree();
        return new FleetChild(Started.Run(Fronts.Program, hub.ToEnvironment(), "fleet", "--hub",
            "--spokes", $"{plan.Spokes}", "--vms", $"{plan.VmsPerSpoke}", "--page", $"{page}", "--every", "2"), page);
    }

    /// <summary>Null: it is still preparing.</summary>
    public async Task<FleetFigures?> FiguresAsync(CancellationToken cancel)
    {
        if (process.HasExited) throw new ProblemException(ProblemKind.Unavailable, $"The fleet ended: {process.Said}");
        try
        {
            return (await client.GetFromJsonAsync<Answer>("/figures", cancel))?.Figures;
        }
        catch (HttpRequestException)
        {
            return null;
        }
    }

    public async Task<string> ReasonsAsync(CancellationToken cancel) =>
        string.Join("\n", (await client.GetFromJsonAsync<Answer>("/figures", cancel))!.Reasons
            .Select(r => $"  {r.Value,6} x  {r.Key}"));

    public ProcessCost Cost => ProcessCost.Of(process.Id)!;

    public async ValueTask DisposeAsync()
    {
        client.Dispose();
        await process.DisposeAsync();
    }
}
