using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Hub.Features.Vms;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>
/// Sixty-four workers create VMs at once on an account that can pay for ten: never more than ten are made. The baseline
/// is one worker that does the same, one after the other.
/// </summary>
static class SpendBench
{
    const int Workers = 64, Affordable = 10, Rounds = 10;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            var settings = HubRun.SettingsFor(folder);
            await using var database = await BenchDatabase.OpenAsync(settings, cancel);
            var db = database.Db;
            await new Migrator(db, NullLogger.Instance).MigrateAsync(cancel);
            await db.ExecuteAsync(SpendBenchSql.AddHost, null, cancel);
            var (most, least, ratios) = (0L, (long)Workers, new List<double>());
            Console.WriteLine("round   VMs made at once   seconds   VMs made one by one   seconds");
            // The first round warms up both.
            for (var n = 0; n <= Rounds; n++)
            {
                var one = await RoundAsync(db, settings, $"one{n}@example.org", workers: 1, cancel);
                var many = await RoundAsync(db, settings, $"many{n}@example.org", Workers, cancel);
                (most, least) = (Math.Max(most, many.Made), Math.Min(least, Math.Min(many.Made, one.Made)));
                most = Math.Max(most, one.Made);
                Console.WriteLine($"{n,5}   {many.Made,16}   {Figures.Text(many.Seconds),7}   {one.Made,19}   "
                    + $"{Figures.Text(one.Seconds),7}");
                if (n > 0) ratios.Add(many.Seconds / one.Seconds);
            }
            return Figures.Verdict(check, most == Affordable && least == Affordable,
                $"spend: {Workers} workers on an account that can pay for {Affordable} made {least} to {most} VMs in "
                + $"each of {Rounds + 1} rounds (bar {Affordable}), in {Figures.Text(Figures.Median(ratios))} of the "
                + "time of one worker");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>As many tries as there are workers in any case, on an account of its own.</summary>
    static async Task<(long Made, double Seconds)> RoundAsync(
        Db db, Settings settings, string email, int workers, CancellationToken cancel)
    {
        var key = await db.AskAsync<long>(SpendBenchSql.AddAccount, new { email }, cancel);
        var clock = Stopwatch.StartNew();
        await Parallel.ForEachAsync(Enumerable.Range(0, Workers),
            new ParallelOptions { MaxDegreeOfParallelism = workers, CancellationToken = cancel },
            async (_, token) =>
            {
                var outcome = await CreateVm.RunAsync(db, email,
                    new CreateVm.Input(null, "f1-xs", "bench", [key]), settings, TimeProvider.System, token);
                if (outcome.Problem is { Kind: not ProblemKind.InsufficientFunds } problem)
                    throw new ProblemException(problem);
            });
        var seconds = clock.Elapsed.TotalSeconds;
        return (await db.AskAsync<long>(SpendBenchSql.CountVms, new { email }, cancel), seconds);
    }
}

/// <summary>Statements of <see cref="SpendBench"/>.</summary>
static class SpendBenchSql
{
    /// <summary>One with room for all of them.</summary>
    public const string AddHost = """
        -- SpendBenchSql.AddHost
        INSERT INTO hosts (id, state, online, memory_mb, disk_free_mb, last_seen)
        VALUES ('bench', 'joined', TRUE, 16777216, 1000000000, now() + interval '1 year');
        INSERT INTO images (id, title, login_user, min_disk_gb, min_memory_mb)
        VALUES ('bench', 'Bench', 'capsul', 1, 128);
        INSERT INTO host_images (host, image, sha256) VALUES ('bench', 'bench', repeat('0', 64));
        INSERT INTO pools (host, family, network, gateway, first, last)
        VALUES ('bench', 4, '10.77.0.0/21', '10.77.0.1', '10.77.0.2', '10.77.7.254');
        INSERT INTO addresses (host, address, mac)
        SELECT 'bench', '10.77.0.0'::inet + n, ('52:54:00:01:' || lpad(to_hex(n / 256), 2, '0') || ':'
            || lpad(to_hex(n % 256), 2, '0'))::macaddr
        FROM generate_series(2, 1000) n
        """;

    /// <summary>It can pay for ten VMs for a day, and for half of another. Returns its key.</summary>
    public const string AddAccount = """
        -- SpendBenchSql.AddAccount
        WITH account AS (INSERT INTO accounts (email, max_vms) VALUES (@email, 1000) RETURNING email),
        payment AS (INSERT INTO payments (email, dollars, method)
            SELECT a.email, round(10.5 * s.dollars_per_month / 30.44, 2), 'cash'
            FROM account a, sizes s WHERE s.id = 'f1-xs')
        INSERT INTO ssh_keys (email, name, type, key, fingerprint, created)
        SELECT email, 'k', 'ssh-ed25519', 'AAAA', 'SHA256:x', now() FROM account RETURNING id
        """;

    public const string CountVms = """
        -- SpendBenchSql.CountVms
        SELECT count(*) FROM vms WHERE email = @email AND deleted IS NULL
        """;
}
