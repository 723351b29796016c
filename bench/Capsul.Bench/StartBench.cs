using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// From the start of the program to its first page: the real executable, a private cluster that is down, in turn with
/// the baseline, which is the start of that same cluster alone until it answers a query. Both are looked at every 100
/// ms, which is how pg_ctl looks at the cluster. And once on an empty data folder, where the cluster is made first.
/// </summary>
static class StartBench
{
    const int Rounds = 7;

    /// <summary>
    /// Seconds: to the first page, on an empty folder, and what the program may add to the cluster alone.
    /// </summary>
    const double MaxSeconds = 3, MaxEmptySeconds = 6, MaxBeyondSeconds = 2;
    static readonly TimeSpan PageLimit = TimeSpan.FromMinutes(2), EndLimit = TimeSpan.FromMinutes(2);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        try
        {
            var empty = await ProgramAsync(folder, cancel);
            Console.WriteLine($"empty data folder: {Figures.Text(empty)} s to the first page");
            Console.WriteLine("round   cluster alone   program to first page   ratio   beyond the cluster");
            var (alone, program, beyond) = (new List<double>(), new List<double>(), new List<double>());
            for (var n = 1; n <= Rounds; n++)
            {
                alone.Add(await ClusterAsync(folder, cancel));
                program.Add(await ProgramAsync(folder, cancel));
                beyond.Add(program[^1] - alone[^1]);
                Console.WriteLine($"{n,5}   {Figures.Text(alone[^1]),11} s   {Figures.Text(program[^1]),19} s   "
                    + $"{Figures.Text(program[^1] / alone[^1]),5}   {Figures.Text(beyond[^1]),16} s");
            }
            var (median, more) = (Figures.Median(program), Figures.Median(beyond));
            return Figures.Verdict(check,
                median <= MaxSeconds && more <= MaxBeyondSeconds && empty <= MaxEmptySeconds,
                $"start: program to first page median {Figures.Text(median)} s (bar {Figures.Text(MaxSeconds)} s), "
                + $"{Figures.Text(more)} s beyond the cluster alone (bar {Figures.Text(MaxBeyondSeconds)} s; "
                + $"ratio {Figures.Text(median / Figures.Median(alone))}), "
                + $"on an empty folder {Figures.Text(empty)} s (bar {Figures.Text(MaxEmptySeconds)} s)");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task<double> ClusterAsync(string folder, CancellationToken cancel)
    {
        var clock = Stopwatch.StartNew();
        var settings = Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = folder });
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        await using (var db = new Db(connection))
            await db.FindSeatAsync(cancel);
        var took = clock.Elapsed.TotalSeconds;
        await server.StopAsync(cancel);
        return took;
    }

    static async Task<double> ProgramAsync(string folder, CancellationToken cancel)
    {
        var port = Ports.TakeFree();
        // As people start it: the copy beside this bench is not compiled ahead of time.
        var info = new ProcessStartInfo(Fronts.Program)
        {
            UseShellExecute = false,
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        foreach (var argument in (string[])["up", "--hub", "--port", port.ToString()]) info.ArgumentList.Add(argument);
        (info.Environment["CAPSUL_DATA"], info.Environment["CAPSUL_LINK_PORT"]) = (folder, "0");
        var clock = Stopwatch.StartNew();
        using var program = Process.Start(info)!;
        program.OutputDataReceived += (_, _) => { };
        program.ErrorDataReceived += (_, _) => { };
        program.BeginOutputReadLine();
        program.BeginErrorReadLine();
        try
        {
            await AwaitPageAsync(new Uri($"http://127.0.0.1:{port}/"), program, cancel);
            var took = clock.Elapsed.TotalSeconds;
            await new Command("kill", "-TERM", program.Id.ToString()).RunAsync(cancel);
            await Within.LimitAsync(EndLimit, "The end of the program", program.WaitForExitAsync, cancel);
            return took;
        }
        finally
        {
            if (!program.HasExited) program.Kill();
        }
    }

    static async Task AwaitPageAsync(Uri page, Process program, CancellationToken cancel)
    {
        using var client = new HttpClient();
        await Within.HoldsAsync(PageLimit, "The way to the first page", async token =>
        {
            if (program.HasExited)
                throw new ProblemException(ProblemKind.Unavailable,
                    $"The program ended with exit code {program.ExitCode} before it answered.");
            try
            {
                using var answer = await client.GetAsync(page, token);
                return answer.IsSuccessStatusCode;
            }
            catch (HttpRequestException)
            {
                return false; // Not listening yet.
            }
        }, cancel);
    }
}
