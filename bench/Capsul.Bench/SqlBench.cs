using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Bench;

/// <summary>
/// <c>capsul sql</c> against psql: a table of mixed types to a file, in turn, from the start of the process to its end.
/// psql in both its ways: all rows in memory (its default), and by a cursor (FETCH_COUNT). Then ten million rows, for
/// the memory.
/// </summary>
static class SqlBench
{
    const int Rounds = 5;
    const int Rows = 1_000_000;
    const int ManyRows = 10_000_000;
    const double MaxRatio = 1.5, MaxMb = 150, MaxGrowth = 1.10;
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
            var address = DatabaseAddress.Of(connection);
            await FillAsync(connection, "few", Rows, cancel);
            await FillAsync(connection, "many", ManyRows, cancel);
            var output = Path.Combine(folder, "out");
            Console.WriteLine("round    capsul sql        psql   by cursor   ratio");
            var (ours, psql, cursor) = (new List<Run>(), new List<Run>(), new List<Run>());
            for (var n = 1; n <= Rounds; n++)
            {
                psql.Add(await PsqlAsync(address, output, [], cancel));
                ours.Add(await OursAsync(connection, folder, output, "few", cancel));
                cursor.Add(await PsqlAsync(address, output, ["-v", "FETCH_COUNT=10000"], cancel));
                Console.WriteLine(
                    $"{n,5}   {Figures.Text(ours[^1].Seconds),9} s {Figures.Text(psql[^1].Seconds),9} s "
                    + $"{Figures.Text(cursor[^1].Seconds),9} s   "
                    + $"{Figures.Text(ours[^1].Seconds / psql[^1].Seconds),5}");
            }
            var many = await OursAsync(connection, folder, output, "many", cancel);
            double Seconds(List<Run> runs) => Figures.Median([.. runs.Select(r => r.Seconds)]);
            double Mb(List<Run> runs) => Figures.Median([.. runs.Select(r => r.Mb)]);
            Console.WriteLine(
                $"memory  {Figures.Text(Mb(ours), "0"),7} MiB {Figures.Text(Mb(psql), "0"),7} MiB "
                    + $"{Figures.Text(Mb(cursor), "0"),7} MiB");
            Console.WriteLine(
                $"10 million rows: {Figures.Text(many.Seconds)} s, {Figures.Text(many.Mb, "0")} MiB, file of "
                    + $"{new FileInfo(output).Length >> 20} MiB");
            var ratio = Seconds(ours) / Math.Min(Seconds(psql), Seconds(cursor));
            var peak = Math.Max(many.Mb, Mb(ours));
            var good = ratio <= MaxRatio && peak <= MaxMb && many.Mb <= Mb(ours) * MaxGrowth;
            Console.WriteLine(
                $"sql: a million rows median {Figures.Text(Seconds(ours))} s, ratio to the quicker psql "
                    + $"{Figures.Text(ratio)} (bar {Figures.Text(MaxRatio)}), peak {Figures.Text(peak, "0")} MiB (bar "
                    + $"{MaxMb:0}), ten million take {Figures.Text(many.Mb / Mb(ours))} of that memory (bar "
                    + $"{Figures.Text(MaxGrowth)}): {Figures.Verdict(good)}");
            return good || !check ? 0 : 1;
        }
        finally
        {
            NpgsqlConnection.ClearAllPools();
            await server.StopAsync(cancel);
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task FillAsync(string connectionString, string table, int rows, CancellationToken cancel)
    {
        await using var connection = new NpgsqlConnection(connectionString);
        await connection.OpenAsync(cancel);
        await using var fill = new NpgsqlCommand($"""
            CREATE TABLE {table} AS SELECT i AS id, i::bigint * 791900000 AS big,
                'person' || i || '@example.org' AS email, CASE WHEN i % 5 > 0 THEN md5(i::text) END AS note,
                timestamptz '2020-05-05 00:00:00Z' + i * interval '61.5 s' AS created, timestamp '2021-01-01' + i
                    * interval '1 min' AS seen, ((i % 100000) / 100.0)::numeric(12,2) AS dollars,
                i % 3 = 0 AS invalidated, md5(i::text)::uuid AS mark,
                CASE WHEN i % 4 = 0 THEN jsonb_build_object('a', i, 'b', ARRAY[1, 2]) END AS more
            FROM generate_series(1, {rows}) i;
            ANALYZE {table}
            """, connection)
        { CommandTimeout = 0 };
        await fill.ExecuteNonQueryAsync(cancel);
    }

    static Task<Run> OursAsync(
        string connection, string folder, string output, string table, CancellationToken cancel) => MeasureAsync(
        Path.Combine(AppContext.BaseDirectory, "capsul"), ["sql", "-c", $"SELECT * FROM {table}"],
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
