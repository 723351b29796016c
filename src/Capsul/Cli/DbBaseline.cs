using System.CommandLine;
using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db baseline</c>: for a database that has the schema but no record of its version.</summary>
static class DbBaseline
{
    static readonly Argument<int> Version = new("VERSION") { Description = "The version that the schema is at." };
    static readonly Option<bool> Force = new("--force") { Description = "Record it even if the schema differs." };

    public static Command Make() => CommandLine.Verb("baseline", """
        Records that the database is at a version, with this program's scripts, and runs none of them. For one that was
        restored without its migration history, or whose scripts were edited. The schema is compared first, and must be
        that of the version.

        Example:
          capsul db baseline 4
        """, RunAsync, Version, Force);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var version = parsed.GetValue(Version);
        await using var database = await CliDatabase.ConnectAsync(Settings.Load(), cancel);
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Information));
        var drift = await new Baseline(database.Db, logs.CreateLogger("Capsul.Cli"))
            .TakeAsync(version, parsed.GetValue(Force), cancel);
        DbVerify.Print(drift);
        Console.WriteLine($"The database is recorded as version {version}"
            + $"{(drift.Count > 0 ? ", although it differs as listed above; these differences remain" : "")}.");
        return 0;
    }
}
