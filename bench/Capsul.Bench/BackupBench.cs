using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Backups;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Bench;

/// <summary>
/// A backup with its proof, against the two lines that an operator would type for the same: <c>pg_dump | gzip -9</c>,
/// and <c>zcat | psql</c> into a fresh database to see that it can be read back. Both flush their file to the disk,
/// both restore into a cluster of their own that has fsync off and loads without a log, and making that counts on both
/// sides; they take turns in going first. On one gigabyte of lines as the audit trail has them.
/// </summary>
static class BackupBench
{
    const double Bar = 1.3;
    const int Rounds = 3;
    const long Gigabyte = 1L << 30;
    const int RowsAtATime = 500_000;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
        File.SetUnixFileMode(folder,
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
            | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        var settings = Settings.Load(
            new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder });
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        try
        {
            await using var db =
                new Db(new NpgsqlConnectionStringBuilder(connection) { Pooling = false }.ConnectionString);
            await new Migrator(db, NullLogger.Instance).MigrateAsync(cancel);
            var bytes = await FillAsync(db, cancel);
            Console.WriteLine($"database: {bytes / (double)Gigabyte:0.00} GiB");
            var peerFile = Path.Combine(folder, "peer.gz");
            var (all, dumps, restores, ratios) = (new List<double>(),
                new List<double>(), new List<double>(), new List<double>());
            for (var n = 1; n <= Rounds; n++)
            {
                if (n % 2 == 1) all.Add(await OursAsync(db, settings, cancel));
                dumps.Add(await TimeAsync(() =>
                    ShellAsync(db.Address, $"pg_dump | gzip -9 > {peerFile} && sync {peerFile}", cancel)));
                restores.Add(await RestorePeerAsync(folder, peerFile, cancel));
                if (n % 2 == 0) all.Add(await OursAsync(db, settings, cancel));
                ratios.Add(all[^1] / (dumps[^1] + restores[^1]));
                Console.WriteLine($"round {n}: capsul {Seconds(all[^1])} s, "
                    + $"peer {Seconds(dumps[^1] + restores[^1])} s, ratio {Figures.Text(ratios[^1])}");
            }
            var size = new DirectoryInfo(settings.BackupFolder).GetFiles().Max(f => f.Length);
            Say("medians", "seconds", "file MB");
            Say("capsul db backup, proved", Seconds(Figures.Median(all)), Figures.Text(size / 1e6, "0"));
            Say("pg_dump | gzip -9", Seconds(Figures.Median(dumps)),
                Figures.Text(new FileInfo(peerFile).Length / 1e6, "0"));
            Say("zcat | psql", Seconds(Figures.Median(restores)), "");
            var ratio = Figures.Median(ratios);
            return Figures.Verdict(check, ratio <= Bar,
                $"backup: a gigabyte with its proof takes {Figures.Text(ratio)} of dump and restore by hand, median of "
                + $"{Rounds} rounds (bar {Figures.Text(Bar)}), fsync of the file on and of the restored cluster off on "
                + "both sides");
        }
        finally
        {
            await server.StopAsync(CancellationToken.None);
            Directory.Delete(folder, recursive: true);
        }
    }

    static string Seconds(double value) => Figures.Text(value, "0.0");

    static void Say(string what, string seconds, string megabytes) =>
        Console.WriteLine($"{what,-34}{seconds,10}{megabytes,10}");

    static Task<double> OursAsync(Db db, Settings settings, CancellationToken cancel) => TimeAsync(() =>
        new TakeBackup(db, settings, TimeProvider.System, _ => { })
            .RunAsync(new(null, DumpFormat.Plain, null, "asked"), cancel));

    /// <summary>
    /// Into a cluster of its own that has fsync off, as that of the proof; making the cluster counts on both sides.
    /// </summary>
    static async Task<double> RestorePeerAsync(string folder, string file, CancellationToken cancel)
    {
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = Path.Combine(folder, "peer"),
            ["CAPSUL_POSTGRES_FSYNC"] = "off",
        });
        try
        {
            return await TimeAsync(async () =>
            {
                var (_, connection) = await EmbeddedPostgres.StartAsync(settings,
                    NullLogger.Instance, cancel, ScratchDatabase.ForLoading);
                await ShellAsync(DatabaseAddress.Of(connection),
                    $"zcat {file} | psql -q -X -v ON_ERROR_STOP=1 > /dev/null", cancel);
            });
        }
        finally
        {
            await EmbeddedPostgres.DiscardAsync(settings, CancellationToken.None);
        }
    }

    static async Task<long> FillAsync(Db db, CancellationToken cancel)
    {
        await db.ExecuteAsync(BackupBenchSql.Account, null, cancel);
        while (true)
        {
            var bytes = await db.FindAsync<long>(BackupBenchSql.Bytes, null, cancel);
            if (bytes >= Gigabyte) return bytes;
            await db.ExecuteAsync(BackupBenchSql.Fill, new { count = RowsAtATime }, cancel);
        }
    }

    static async Task<double> TimeAsync(Func<Task> work)
    {
        var clock = Stopwatch.StartNew();
        await work();
        return clock.Elapsed.TotalSeconds;
    }

    static Task ShellAsync(DatabaseAddress address, string line, CancellationToken cancel) =>
        new Command("bash", "-o", "pipefail", "-c", line)
        {
            Environment = address.ForPrograms("peer"),
            Timeout = TimeSpan.FromHours(1)
        }.RunAsync(cancel);
}

static class BackupBenchSql
{
    public const string Account = "INSERT INTO accounts (email) VALUES ('jo@example.org')";

    public const string Bytes = "SELECT pg_database_size(current_database())";

    /// <summary>
    /// Lines of the trail as they are: times, names, hashes that do not compress, words that do. And payments, for
    /// their sums.
    /// </summary>
    public const string Fill = """
        INSERT INTO audit_lines (at, actor, action, subject, detail)
        SELECT now() - n * interval '1 second', 'person' || n % 977 || '@example.org',
            (ARRAY['sign_in', 'create_vm', 'stop_vm', 'top_up'])[n % 4 + 1],
            'capsul-' || left(md5(n::text), 10),
            'host rack' || n % 31 || ', fingerprint ' || md5(random()::text) || ', from 192.0.2.' || n % 250
        FROM generate_series(1, @count) AS n;
        INSERT INTO payments (email, dollars, method)
        SELECT 'jo@example.org', round((1 + random() * 100)::numeric, 2), 'cash' FROM generate_series(1, @count / 10);
        """;
}
