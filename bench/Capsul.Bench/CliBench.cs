using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// How soon the command line answers, as whole processes that take turns on the private cluster that runs: <c>./capsul
/// sql -c 'select 1'</c> as a person types it, through the script; the same by the program, for where there is no
/// native code; psql through PATH, which Debian puts behind a script, and psql itself; and <c>./capsul --help</c>. Both
/// ways to <c>sql</c> must say the same.
/// </summary>
static class CliBench
{
    const int Rounds = 15;
    const double MaxRatio = 3, MaxHelpMs = 100;
    static readonly TimeSpan CallLimit = TimeSpan.FromMinutes(5);

    /// <summary>Lines that both ways are tried with.</summary>
    static readonly string[][] Lines =
    [
        ["--help"],
        ["-c", "SELECT 1, NULL, true, DATE '2020-05-05', 1.50, ARRAY[1, 2]"],
        ["--format", "json", "-c", "SELECT 1 AS a, 'x\"y' AS b, NULL AS c, jsonb '{\"d\": [1]}' AS e"],
        ["--format", "csv", "--header", "-c", "SELECT 'a,b' AS a, true AS b"],
        ["--format", "markdown", "-c", "SELECT 'a|b' AS a"],
        ["--format", "table", "-c", "SELECT 'ä' AS a, 2 AS b"],
        ["-c", "CREATE TABLE t (id integer)", "-c", "INSERT INTO t VALUES (1), (2)", "-c", "DROP TABLE t"],
        ["-c", "COPY (SELECT 1, 2) TO STDOUT"],
        ["--read-only", "-c", "CREATE TABLE t ()"],
        ["-c", "SELEC 1"],
        ["-c", "DELETE FROM t"],
        ["--timeout", "x"],
        ["--nonsense"],
        ["-f", "/nowhere.sql"],
    ];

    sealed record Round(double Script, double Program, double Psql, double Bare, double Help);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        var settings = Settings.Load(
            new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder });
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        try
        {
            var differing = await DifferingAsync(folder, cancel);
            var median = await MeasureAsync(
                folder, DatabaseAddress.Of(connection).ForPrograms("bench"), cancel);
            var (toPsql, toBare) = (median.Script / median.Psql, median.Script / median.Bare);
            return Figures.Verdict(check,
                toPsql <= MaxRatio && toBare <= MaxRatio && median.Help <= MaxHelpMs && differing.Count == 0,
                $"cli: sql -c 'select 1' takes {Figures.Text(toPsql)} of psql and {Figures.Text(toBare)} "
                + $"of psql without Debian's script (bar {Figures.Text(MaxRatio)}), "
                + $"{(Fronts.Native is null ? "not native, " : "")}the program "
                + $"{Figures.Text(median.Program / median.Psql)} and {Figures.Text(median.Program / median.Bare)}; "
                + $"--help {Ms(median.Help)} ms (bar {Figures.Text(MaxHelpMs, "0")} ms on an idle machine); "
                + (differing.Count == 0 ? $"both ways say the same to {Lines.Length} lines"
                    : $"the two ways differ: {string.Join(", ", differing)}"));
        }
        finally
        {
            await server.StopAsync(CancellationToken.None);
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>The lines to which native code and the program do not say the same.</summary>
    static async Task<List<string>> DifferingAsync(string folder, CancellationToken cancel)
    {
        var differing = new List<string>();
        if (Fronts.Native is not { } native) return differing;
        foreach (var line in Lines)
        {
            var (one, other) = (await SayAsync(native, line), await SayAsync(Fronts.Program, line));
            if (one != other) differing.Add($"sql {string.Join(' ', line)}");
        }
        return differing;

        async Task<(int, string, string)> SayAsync(string program, string[] line)
        {
            var said = await new Command(program, ["sql", .. line])
            {
                Environment = new Dictionary<string, string?>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder },
                Timeout = CallLimit,
            }.TryRunAsync(cancel);
            return (said.ExitCode, said.Output, said.Error);
        }
    }

    /// <summary>Medians, ms; of --help the quicker quarter.</summary>
    static async Task<Round> MeasureAsync(
        string folder, IReadOnlyDictionary<string, string?> server, CancellationToken cancel)
    {
        var data = new Dictionary<string, string?>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder };
        var bare = Path.Combine(PostgresPrograms.Folder(null, "psql"), "psql");
        var rounds = new List<Round>();
        Console.WriteLine("round   ./capsul sql   the program's sql      psql   psql itself   ./capsul --help   ms");
        for (var n = 0; n <= Rounds; n++)
        {
            var round = new Round(await TimeAsync(Fronts.Script, ["sql", "-c", "select 1"], data, cancel),
                await TimeAsync(Fronts.Program, ["sql", "-c", "select 1"], data, cancel),
                await TimeAsync("psql", ["-X", "-c", "select 1"], server, cancel),
                await TimeAsync(bare, ["-X", "-c", "select 1"], server, cancel),
                await TimeAsync(Fronts.Script, ["--help"], data, cancel));
            // The first fills the caches of the disk, and builds what is not built.
            if (n == 0) continue;
            rounds.Add(round);
            Say($"{n,5}", round);
        }
        double Of(Func<Round, double> figure) => Figures.Median([.. rounds.Select(figure)]);
        // Its bar is in milliseconds of an idle machine: the quicker quarter of the rounds is nearest to that.
        var help = Figures.Percentile([.. rounds.Select(r => r.Help)], 25);
        var median = new Round(Of(r => r.Script), Of(r => r.Program), Of(r => r.Psql), Of(r => r.Bare),
            Of(r => r.Help));
        Say("median", median);
        return median with { Help = help };
    }

    static void Say(string name, Round round) => Console.WriteLine(
        $"{name,-6}  {Ms(round.Script),12}   {Ms(round.Program),17}   {Ms(round.Psql),7}   {Ms(round.Bare),11}   "
        + $"{Ms(round.Help),15}");

    static string Ms(double value) => Figures.Text(value, "0.0");

    /// <summary>Milliseconds from the start of the process to its end.</summary>
    static Task<double> TimeAsync(
        string program, string[] arguments, IReadOnlyDictionary<string, string?> environment,
        CancellationToken cancel) =>
        Within.LimitAsync(CallLimit, Path.GetFileName(program), async token =>
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
            await process.StandardOutput.ReadToEndAsync(token);
            await process.WaitForExitAsync(token);
            var took = clock.Elapsed.TotalMilliseconds;
            return process.ExitCode == 0 ? took
                : throw new ProblemException(ProblemKind.Unavailable,
                    $"{program} ended with exit code {process.ExitCode}.");
        }, cancel);
}
