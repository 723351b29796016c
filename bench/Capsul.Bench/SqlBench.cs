using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Bench;

/// <summary>
/// <c>capsul sql</c> against psql: a table of mixed types to a file, in turn, from the start of the process to its end.
/// Both in both their ways: native code and the program, where there is native code; and psql with all rows in memory
/// (its default), and by a cursor (FETCH_COUNT). The slower of ours is judged against the quicker of psql's. Then ten
/// million rows, for the memory.
/// </summary>
static class SqlBench
{
    const int Rounds = 5;
    const int Rows = 1_000_000;
    const int ManyRows = 10_000_000;
    const double MaxRatio = 1.5, MaxMb = 150;

    /// <summary>
    /// What nine million rows more may take beyond: a collector that comes a little later, and not one in a hundred of
    /// the bytes that they print. (Of 24 MiB a tenth more is nothing that can be measured.)
    /// </summary>
    const double MaxMoreMb = 16;

    /// <summary>The same as a ratio, for the program: its memory is large enough for that.</summary>
    const double MaxGrowth = 1.10;
    static readonly TimeSpan LookEvery = TimeSpan.FromMilliseconds(20);

    /// <summary>Seconds from start to end, and the largest resident memory (VmHWM), MiB.</summary>
    sealed record Run(double Seconds, double Mb);

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        var settings = Settings.Load(new Dictionary<string, string>
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_POSTGRES_FSYNC"] = "off"
        });
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        try
        {
            await FillAsync(connection, "few", Rows, cancel);
            await FillAsync(connection, "many", ManyRows, cancel);
            var output = Path.Combine(folder, "out");
            string[] fronts = Fronts.Native is { } native ? [native, Fronts.Program] : [Fronts.Program];
            var ours = await RaceAsync(fronts, connection, folder, output, cancel);
            var many = new List<Run>();
            foreach (var front in fronts)
            {
                many.Add(await OursAsync(front, connection, folder, output, "many", cancel));
                Console.WriteLine($"10 million rows, {Name(front)}: {Figures.Text(many[^1].Seconds)} s, "
                    + $"{Figures.Text(many[^1].Mb, "0")} MiB, file of {new FileInfo(output).Length >> 20} MiB");
            }
            var ratio = ours.Max(o => o.Ratio);
            var peak = many.Concat(ours.Select(o => o.Run)).Max(r => r.Mb);
            var more = ours.Zip(many, (few, all) => all.Mb - few.Run.Mb).Max();
            var growth = many[^1].Mb / ours[^1].Run.Mb;
            return Figures.Verdict(check,
                ratio <= MaxRatio && peak <= MaxMb && more <= MaxMoreMb && growth <= MaxGrowth,
                "sql: a million rows take "
                + string.Join(", ", ours.Zip(fronts, (o, front) => $"{Figures.Text(o.Ratio)} ({Name(front)})"))
                + $" of the quicker psql (bar {Figures.Text(MaxRatio)}), peak {Figures.Text(peak, "0")} MiB "
                + $"(bar {MaxMb:0}), ten million take {Figures.Text(more, "0")} MiB more (bar {MaxMoreMb:0}), "
                + $"{Figures.Text(growth)} of the program's (bar {Figures.Text(MaxGrowth)})");
        }
        finally
        {
            NpgsqlConnection.ClearAllPools();
            await server.StopAsync(cancel);
            Directory.Delete(folder, recursive: true);
        }
    }

    static string Name(string front) => front == Fronts.Native ? "native" : "the program";

    /// <summary>Of each way to our verb: medians, and their ratio to that of the quicker psql.</summary>
    static async Task<List<(Run Run, double Ratio)>> RaceAsync(
        string[] fronts, string connection, string folder, string output, CancellationToken cancel)
    {
        var address = DatabaseAddress.Of(connection);
        var ours = fronts.Select(_ => new List<Run>()).ToArray();
        var (psql, cursor) = (new List<Run>(), new List<Run>());
        Console.WriteLine($"round   {string.Concat(fronts.Select(f => $"{Name(f),14}"))}      psql   by cursor");
        for (var n = 1; n <= Rounds; n++)
        {
            psql.Add(await PsqlAsync(address, output, [], cancel));
            for (var i = 0; i < fronts.Length; i++)
                ours[i].Add(await OursAsync(fronts[i], connection, folder, output, "few", cancel));
            cursor.Add(await PsqlAsync(address, output, ["-v", "FETCH_COUNT=10000"], cancel));
            Console.WriteLine($"{n,5}   {string.Concat(ours.Select(o => $"{Figures.Text(o[^1].Seconds),12} s"))}"
                + $"{Figures.Text(psql[^1].Seconds),8} s {Figures.Text(cursor[^1].Seconds),9} s");
        }
        var peers = (Psql: Median(psql), Cursor: Median(cursor));
        var medians = ours.Select(Median).ToList();
        Console.WriteLine($"memory  {string.Concat(medians.Select(m => $"{Figures.Text(m.Mb, "0"),10} MiB"))}"
            + $"{Figures.Text(peers.Psql.Mb, "0"),6} MiB {Figures.Text(peers.Cursor.Mb, "0"),7} MiB");
        return [.. medians.Select(m => (m, m.Seconds / Math.Min(peers.Psql.Seconds, peers.Cursor.Seconds)))];
    }

    static Run Median(List<Run> runs) =>
        new(Figures.Median([.. runs.Select(r => r.Seconds)]), Figures.Median([.. runs.Select(r => r.Mb)]));

    static async Task FillAsync(string connectionString, string table, int rows, CancellationToken cancel)
    {
        await using var connection = new NpgsqlConnection(connectionString);
        await connection.OpenAsync(cancel);
        await using var fill = new NpgsqlCommand($"""
            CREATE TABLE {table} AS SELECT i AS id, i::bigint * 791900000 AS big,
                'person' || i || '@example.org' AS email, CASE WHEN i % 5 > 0 THEN md5(i::text) END AS note,
                timestamptz '2020-05-05 00:00:00Z' + i * interval '61.5 s' AS created,
                timestamp '2021-01-01' + i * interval '1 min' AS seen,
                ((i % 100000) / 100.0)::numeric(12,2) AS dollars,
                i % 3 = 0 AS invalidated, md5(i::text)::uuid AS mark,
                CASE WHEN i % 4 = 0 THEN jsonb_build_object('a', i, 'b', ARRAY[1, 2]) END AS more
            FROM generate_series(1, {rows}) i;
            ANALYZE {table}
            """, connection)
        { CommandTimeout = 0 };
        await fill.ExecuteNonQueryAsync(cancel);
    }

    static Task<Run> OursAsync(
        string front, string connection, string folder, string output, string table, CancellationToken cancel) =>
        MeasureAsync(front, ["sql", "-c", $"SELECT * FROM {table}"],
            new Dictionary<string, string?>(StringComparer.Ordinal)
            {
                ["CAPSUL_DATABASE"] = connection,
                ["CAPSUL_DATA"] = folder
            }, output, cancel);

    static Task<Run> PsqlAsync(DatabaseAddress address, string output, string[] more, CancellationToken cancel) =>
        MeasureAsync(
        Path.Combine(PostgresPrograms.Folder(null, "psql"), "psql"),
            ["-X", "-A", "-t", "-F", ", ", .. more, "-c", "SELECT * FROM few"],
            address.ForPrograms("bench"), output, cancel);

    /// <summary>Through a shell that becomes the program, so that its output is the file itself, for both.</summary>
    static async Task<Run> MeasureAsync(
        string program, string[] arguments, IReadOnlyDictionary<string, string?> environment,
        string output, CancellationToken cancel)
    {
        var info = new ProcessStartInfo("/bin/sh") { UseShellExecute = false };
        foreach (var argument in (string[])["-c", "out=$1; shift; exec \"$@\" > \"$out\"",
            "sh", output, program, .. arguments]) info.ArgumentList.Add(argument);
        foreach (var (name, value) in environment)
        {
            if (value is null) info.Environment.Remove(name);
            else info.Environment[name] = value;
        }
        var clock = Stopwatch.StartNew();
        using var process = Process.Start(info)!;
        var peak = 0.0;
        while (!process.HasExited)
        {
            peak = Math.Max(peak, PeakMb(process.Id));
            await Task.WhenAny(process.WaitForExitAsync(cancel), Task.Delay(LookEvery, cancel));
        }
        var took = clock.Elapsed.TotalSeconds;
        return process.ExitCode == 0 ? new Run(took, peak)
            : throw new ProblemException(ProblemKind.Unavailable,
            $"{program} ended with exit code {process.ExitCode}.");
    }

    static double PeakMb(int pid)
    {
        try
        {
            return File.ReadLines($"/proc/{pid}/status")
                .FirstOrDefault(l => l.StartsWith("VmHWM:", StringComparison.Ordinal)) is { } line
                ? double.Parse(
                    line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)[^2],
                    System.Globalization.CultureInfo.InvariantCulture) / 1024 : 0;
        }
        catch (IOException)
        {
            // It has just ended; the last look stands.
            return 0;
        }
    }
}
