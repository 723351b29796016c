using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// How soon the command line answers: <c>capsul sql -c 'select 1'</c> as a whole process, on the private cluster that
/// runs, in turn with psql on the same one; and <c>capsul --help</c>. psql is measured as a person starts it, through
/// PATH, and as the program itself, which Debian puts behind a script.
/// </summary>
static class CliBench
{
    const int Rounds = 15;
    const double MaxRatio = 3, MaxHelpMs = 100;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        var settings = Settings.Load(
            new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder });
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        try
        {
            var (ratio, toProgram, help) = await MeasureAsync(folder, DatabaseAddress.Of(connection)
                .ForPrograms("bench"), cancel);
            var good = ratio <= MaxRatio && help <= MaxHelpMs;
            Console.WriteLine(
                $"cli: sql -c 'select 1' takes {Figures.Text(ratio)} of psql (bar {Figures.Text(MaxRatio)}), "
                + $"{Figures.Text(toProgram)} of the bare program; "
                + $"--help {Figures.Text(help, "0")} ms (bar {Figures.Text(MaxHelpMs, "0")} ms on an idle machine): "
                + $"{Figures.Verdict(good)}");
            return good || !check ? 0 : 1;
        }
        finally
        {
            await server.StopAsync(CancellationToken.None);
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task<(double Ratio, double ToProgram, double HelpMs)> MeasureAsync(
        string folder, IReadOnlyDictionary<string, string?> server, CancellationToken cancel)
    {
        var capsul = CapsulProgram();
        var data = new Dictionary<string, string?>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder };
        var bare = Path.Combine(PostgresPrograms.Folder(null, "psql"), "psql");
        var (ours, psql, program, help) = (new List<double>(), new List<double>(),
            new List<double>(), new List<double>());
        Console.WriteLine("round   capsul sql      psql   psql, the program itself   capsul --help   ms");
        for (var n = 0; n <= Rounds; n++)
        {
            var round = (Ours: await TimeAsync(capsul, ["sql", "-c", "select 1"], data, cancel),
                Psql: await TimeAsync("psql", ["-X", "-c", "select 1"], server, cancel),
                Program: await TimeAsync(bare, ["-X", "-c", "select 1"], server, cancel),
                    Help: await TimeAsync(capsul, ["--help"], data, cancel));
            // The first fills the caches of the disk.
            if (n == 0) continue;
            ours.Add(round.Ours);
            psql.Add(round.Psql);
            program.Add(round.Program);
            help.Add(round.Help);
            Console.WriteLine(
                $"{n,5}   {Ms(round.Ours),10}   {Ms(round.Psql),7}   {Ms(round.Program),24}   {Ms(round.Help),13}");
        }
        Console.WriteLine(
            $"median  {Ms(Figures.Median(ours)),10}   {Ms(Figures.Median(psql)),7}   {Ms(Figures.Median(program)),24} "
            + $"  {Ms(Figures.Median(help)),13}");
        return (Figures.Median(ours) / Figures.Median(psql), Figures.Median(ours) / Figures.Median(program),
            Figures.Median(help));
    }

    /// <summary>As the script capsul starts it; the copy beside this bench is not compiled ahead of time.</summary>
    static string CapsulProgram() =>
        Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..",
            "..", "..", "..", "..", "src", "Capsul", "bin", "Release", "net10.0", "capsul"));

    static string Ms(double value) => Figures.Text(value, "0.0");

    /// <summary>Milliseconds from the start of the process to its end.</summary>
    static async Task<double> TimeAsync(
        string program, string[] arguments, IReadOnlyDictionary<string, string?> environment, CancellationToken cancel)
    {
        var info = new ProcessStartInfo(program) { UseShellExecute = false, RedirectStandardOutput = true };
        foreach (var argument in arguments) info.ArgumentList.Add(argument);
        foreach (var (name, value) in environment)
        {
            if (value is null) info.Environment.Remove(name);
            else info.Environment[name] = value;
        }
        var clock = Stopwatch.StartNew();
        using var process = Process.Start(info)!;
        await process.StandardOutput.ReadToEndAsync(cancel);
        await process.WaitForExitAsync(cancel);
        var took = clock.Elapsed.TotalMilliseconds;
        return process.ExitCode == 0 ? took
            : throw new ProblemException(ProblemKind.Unavailable,
            $"{program} ended with exit code {process.ExitCode}.");
    }
}
