using System.Diagnostics;
using System.Globalization;
using Capsul.Chaos;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

// ./capsul chaos --seeds N [--from K]     seeds K to K+N-1 (from 1); exits with 1 when anything that must hold did not
// ./capsul chaos --seed K                 one seed, with everything that happened

int Option(string name, int fallback) => Array.IndexOf(args, name) is >= 0 and var at && at + 1 < args.Length
    ? int.Parse(args[at + 1], CultureInfo.InvariantCulture) : fallback;

var single = Option("--seed", 0);
var (first, count) = single > 0 ? (single, 1) : (Option("--from", 1), Option("--seeds", 100));
// In memory: a Spoke syncs every record to disk, some hundred times per seed.
var folder = MemoryFolder.Make("chaos").FullName;
var settings = Settings.Load(
    new Dictionary<string, string> { ["CAPSUL_DATA"] = folder, ["CAPSUL_POSTGRES_FSYNC"] = "off" });
var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, CancellationToken.None);
try
{
    var (total, clock, next) = (new Report(), Stopwatch.StartNew(), first - 1);
    await Task.WhenAll(Enumerable.Range(0, single > 0 ? 1 : Environment.ProcessorCount).Select(async worker =>
    {
        await using var db = await MakeDatabaseAsync(worker);
        using var run = new ChaosRun(db, Path.Combine(folder, $"world{worker}"));
        while (Interlocked.Increment(ref next) is var seed && seed < first + count)
        {
            var (report, trace) = await run.RunAsync(seed);
            lock (total)
            {
                total.Add(seed, report);
                if (single > 0) Console.WriteLine(string.Join('\n', trace));
                foreach (var violation in report.Violations) Console.WriteLine($"seed {seed}: {violation}");
            }
        }
    }));
    Console.WriteLine($"{total}");
    Console.WriteLine($"{count} seeds in {clock.Elapsed.TotalSeconds:0} s, {total.Violations.Count} violations");
    return total.Violations.Count == 0 ? 0 : 1;
}
finally
{
    NpgsqlConnection.ClearAllPools();
    await server.StopAsync(CancellationToken.None);
    Directory.Delete(folder, recursive: true);
}

async Task<Db> MakeDatabaseAsync(int worker)
{
    var parts = new NpgsqlConnectionStringBuilder(connection) { Database = "postgres", Pooling = false };
    await using (var maintenance = new Db(parts.ConnectionString))
        await maintenance.ExecuteAsync($"CREATE DATABASE chaos{worker}", null, CancellationToken.None);
    var db = new Db(new NpgsqlConnectionStringBuilder(connection) { Database = $"chaos{worker}" }.ConnectionString);
    await new Migrator(db, NullLogger.Instance).MigrateAsync(CancellationToken.None);
    return db;
}
