using System.Diagnostics;
using Capsul.Hub.Features.Ledger;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;
using NpgsqlTypes;

namespace Capsul.Bench;

/// <summary>
/// Postings a second, each its own commit, against a bare pgbench that inserts as many rows as a posting writes (a
/// transaction, two entries, a balance) into tables without rules; payments a second are shown beside them. And the
/// usage of 500 customers in one transaction, as metering posts it, against COPY of the same rows into the same tables.
/// All sides take turns; fsync is on.
/// </summary>
static class LedgerBench
{
    const double CommitBar = 0.5, CopyBar = 0.6;
    const int Rounds = 9, Customers = 1000, Batch = 500, Batches = 20;

    static long copied;
    static int hours;

    public static async Task<int> RunAsync(bool check, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            await using var database = await BenchDatabase.OpenAsync(HubRun.SettingsFor(folder), cancel);
            await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(cancel);
            await database.Db.ExecuteAsync(LedgerBenchSql.AddCustomers, new { count = Customers }, cancel);
            await database.Db.ExecuteAsync(LedgerBenchSql.MakeBare, null, cancel);
            await database.Db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
            var commits = await CommitsAsync(database, folder, cancel);
            var batches = await BatchesAsync(database.Db, cancel);
            return Figures.Verdict(check, commits >= CommitBar && batches >= CopyBar,
                $"ledger: postings, each its own commit, {Figures.Text(commits)} of bare pgbench (bar at least "
                + $"{Figures.Text(CommitBar)}; {PgBench.Clients} clients); in batches of {Batch} "
                + $"{Figures.Text(batches)} of COPY into the same tables (bar at least {Figures.Text(CopyBar)})");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task<double> CommitsAsync(BenchDatabase database, string folder, CancellationToken cancel)
    {
        async Task<string> WriteAsync(string name, string script)
        {
            var file = Path.Combine(folder, name);
            await File.WriteAllTextAsync(file, script, cancel);
            return file;
        }
        var bare = await WriteAsync("bare.sql", LedgerBenchSql.BareScript);
        var post = await WriteAsync("post.sql", LedgerBenchSql.PostScript);
        var pay = await WriteAsync("pay.sql", LedgerBenchSql.PayScript);
        var ratios = new List<double>();
        Console.WriteLine("round   postings/s   bare pgbench, transactions/s   ratio   payments/s");
        // The first round warms up both.
        for (var n = 0; n <= Rounds; n++)
        {
            var first = n % 2 == 0 ? await PgBench.RateAsync(database, bare, cancel) : 0;
            var ours = await PgBench.RateAsync(database, post, cancel);
            if (n % 2 == 1) first = await PgBench.RateAsync(database, bare, cancel);
            Console.WriteLine($"{n,5}   {Figures.Text(ours, "0"),10}   {Figures.Text(first, "0"),28}   "
                + $"{Figures.Text(ours / first),5}   "
                + $"{Figures.Text(await PgBench.RateAsync(database, pay, cancel), "0"),10}");
            if (n > 0) ratios.Add(ours / first);
            // Plans that were made for empty tables are made again.
            else await database.Db.ExecuteAsync(BenchSql.Vacuum, null, cancel);
        }
        return Figures.Median(ratios);
    }

    static async Task<double> BatchesAsync(Db db, CancellationToken cancel)
    {
        var customers = (await db.ListAsync<(long Id, string Email)>(LedgerBenchSql.Customers, null, cancel))
            .Take(Batch).ToList();
        var ratios = new List<double>();
        Console.WriteLine("round   entries/s in batches   entries/s by COPY   ratio");
        for (var n = 0; n <= Rounds; n++)
        {
            var copy = n % 2 == 0 ? await CopyAsync(db, customers, cancel) : 0;
            var ours = await PostAsync(db, customers, cancel);
            if (n % 2 == 1) copy = await CopyAsync(db, customers, cancel);
            Console.WriteLine($"{n,5}   {Figures.Text(ours, "0"),20}   {Figures.Text(copy, "0"),17}   "
                + Figures.Text(ours / copy));
            if (n > 0) ratios.Add(ours / copy);
        }
        return Figures.Median(ratios);
    }

    /// <summary>As <c>Metering</c> posts.</summary>
    static async Task<double> PostAsync(Db db, List<(long Id, string Email)> customers, CancellationToken cancel)
    {
        var emails = customers.Select(c => c.Email).ToArray();
        var amounts = customers.Select(_ => 0.01m).ToArray();
        var clock = Stopwatch.StartNew();
        for (var n = 0; n < Batches; n++)
            await db.InTransactionAsync(async transaction =>
            {
                await transaction.ExecuteAsync(LedgerSql.AddCustomers, new { emails }, cancel);
                await transaction.ExecuteAsync(
                    LedgerSql.PostUsage, new { emails, amounts, hour = NextHour(), kind = "usage" }, cancel);
            }, cancel);
        return Batches * (Batch + 1) / clock.Elapsed.TotalSeconds;
    }

    static async Task<double> CopyAsync(Db db, List<(long Id, string Email)> customers, CancellationToken cancel)
    {
        var clock = Stopwatch.StartNew();
        for (var n = 0; n < Batches; n++)
            await db.InTransactionAsync(async transaction =>
            {
                // Numbers that the sequence will not reach.
                var (id, hour) = (1_000_000_000 + ++copied, NextHour());
                await using (var writer = await transaction.Connection!.BeginBinaryImportAsync(
                    LedgerBenchSql.CopyTransactions, cancel))
                {
                    await writer.WriteRowAsync(cancel, id, hour, "usage", Batch + 1);
                    await writer.CompleteAsync(cancel);
                }
                await using var entries = await transaction.Connection!.BeginBinaryImportAsync(
                    LedgerBenchSql.CopyEntries, cancel);
                for (var line = 1; line <= Batch; line++)
                    await entries.WriteRowAsync(cancel, id, line, Batch + 1, customers[line - 1].Id, 0.01m, hour);
                await entries.StartRowAsync(cancel);
                await entries.WriteAsync(id, cancel);
                await entries.WriteAsync(Batch + 1, cancel);
                await entries.WriteAsync(Batch + 1, cancel);
                await entries.WriteAsync(1L, cancel);
                await entries.WriteAsync(-0.01m * Batch, NpgsqlDbType.Numeric, cancel);
                await entries.WriteNullAsync(cancel);
                await entries.CompleteAsync(cancel);
            }, cancel);
        return Batches * (Batch + 1) / clock.Elapsed.TotalSeconds;
    }

    static DateTime NextHour() => DateTime.UnixEpoch.AddHours(++hours);
}
