using System.Globalization;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Bench;

/// <summary>pgbench, PostgreSQL's own, with a script.</summary>
static partial class PgBench
{
    public const int Clients = 8;

    const int Seconds = 3;

    /// <summary>Transactions a second.</summary>
    public static Task<double> RateAsync(BenchDatabase database, string script, CancellationToken cancel) =>
        RateAsync(database, script, rows: 1, cancel);

    /// <param name="rows">The variable of that name in the script.</param>
    public static async Task<double> RateAsync(
        BenchDatabase database, string script, int rows, CancellationToken cancel)
    {
        var parts = new NpgsqlConnectionStringBuilder(database.ConnectionString);
        var pgbench = Path.Combine(EmbeddedPostgres.FindBinaries(null), "pgbench");
        var result = await new Command(pgbench, "-n", "-M", "prepared", "-c", Text(Clients), "-j", "2", "-T",
            Text(Seconds), "-D", "rows=" + Text(rows), "-f", script, "-h", parts.Host!, "-p", Text(parts.Port), "-U",
            parts.Username!, parts.Database!)
        {
            Environment = new Dictionary<string, string?>(StringComparer.Ordinal) { ["PGPASSWORD"] = parts.Password },
        }.RunAsync(cancel);
        return double.Parse(Tps().Match(result.Output).Groups["tps"].ValueSpan, CultureInfo.InvariantCulture);
    }

    static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    [GeneratedRegex(@"tps = (?<tps>[\d.]+)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Tps();
}
