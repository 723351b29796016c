using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// From the start of the program to its first page: the real executable, a private cluster that is down, in turn with
/// the baseline, which is the start of that same cluster alone until it answers a query. And once on an empty data
/// folder, where the cluster is made first.
/// </summary>
static class StartBench
{
    const int Rounds = 7;
    const double MaxSeconds = 3;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        try
        {
            var empty = await ProgramAsync(folder, cancel);
            Console.WriteLine($"empty data folder: {Figures.Text(empty)} s to the first page");
            Console.WriteLine("round   cluster alone   program to first page   ratio");
            var (alone, program) = (new List<double>(), new List<double>());
            for (var n = 1; n <= Rounds; n++)
            {
                alone.Add(await ClusterAsync(folder, cancel));
                program.Add(await ProgramAsync(folder, cancel));
                Console.WriteLine($"{n,5}   {Figures.Text(alone[^1]),11} s   {Figures.Text(program[^1]),19} s   "
                    + $"{Figures.Text(program[^1] / alone[^1]),5}");
            }
            var median = Figures.Median(program);
            var good = median <= MaxSeconds && empty <= MaxSeconds * 2;
            Console.WriteLine($"start: program to first page median {Figures.Text(median)} s (bar "
                + $"{Figures.Text(MaxSeconds)} s), ratio to the cluster alone "
                + $"{Figures.Text(median / Figures.Median(alone))}, on an empty folder {Figures.Text(empty)} s: "
                + $"{(good ? "ok" : "UNDER THE BAR")}");
            return good || !check ? 0 : 1;
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
        var info = new ProcessStartInfo(Path.Combine(AppContext.BaseDirectory,
            "capsul"))
        { UseShellExecute = false, RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (var argument in (string[])["up", "--hub", "--port", port.ToString()]) info.ArgumentList.Add(argument);
        (info.Environment["CAPSUL_DATA"], info.Environment["CAPSUL_LINK_PORT"]) = (folder, "0");
        var clock = Stopwatch.StartNew();
        using var program = Process.Start(info)!;
        program.OutputDataReceived += (_, _) => { };
        program.ErrorDataReceived += (_, _) => { };
        program.BeginOutputReadLine();
        program.BeginErrorReadLine();
        await AwaitPageAsync(new Uri($"http://127.0.0.1:{port}/"), program, cancel);
        var took = clock.Elapsed.TotalSeconds;
        await new Command("kill", "-TERM", program.Id.ToString()).RunAsync(cancel);
        await program.WaitForExitAsync(cancel);
        return took;
    }

    static async Task AwaitPageAsync(Uri page, Process program, CancellationToken cancel)
    {
        using var client = new HttpClient();
        while (true)
        {
            if (program.HasExited)
                throw new ProblemException(ProblemKind.Unavailable,
                    $"The program ended with exit code {program.ExitCode} before it answered.");
            try
            {
                using var answer = await client.GetAsync(page, cancel);
                if (answer.IsSuccessStatusCode) return;
            }
            catch (HttpRequestException)
            {
                // Not listening yet.
            }
            await Task.Delay(TimeSpan.FromMilliseconds(10), cancel);
        }
    }
}
