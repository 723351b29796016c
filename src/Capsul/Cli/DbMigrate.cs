using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres.Migrations;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db migrate</c>: to the newest version, or to a given one.</summary>
static class DbMigrate
{
    static readonly Option<int?> To =
        new("--to") { Description = "The version to go to. Default: the newest.", HelpName = "VERSION" };
    static readonly Option<bool> DryRun =
        new("--dry-run") { Description = "Print the SQL and try it in a transaction that is rolled back." };
    static readonly Option<bool> AllowDowngrade = new("--allow-downgrade")
    {
        Description =
        "Allow downgrades. Data that the down scripts drop is lost; a dump is taken first."
    };

    public static Command Make() => CommandLine.Verb("migrate", """
        Brings the schema to the newest version, as the Hub does when it starts, or to another. A database that holds
        data is dumped first; before an upgrade not if CAPSUL_DUMP_BEFORE_UPGRADE is off. The dry run takes the locks of
        the scripts while it tries them.

        Examples:
          capsul db migrate --dry-run
          capsul db migrate
          capsul db migrate --to 3 --allow-downgrade
        """, RunAsync, To, DryRun, AllowDowngrade);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        var target = parsed.GetValue(To) ?? Migrator.DesiredVersion;
        await using var database = await CliDatabase.ConnectAsync(settings, cancel);
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Information));
        var log = logs.CreateLogger("Capsul.Cli");
        if (parsed.GetValue(DryRun))
            return await TryAsync(new Migrator(database.Db, log), target, parsed.GetValue(AllowDowngrade), cancel);
        var count = await new SchemaUpgrade(database.Db, settings, patient: false, log)
            .ToAsync(target, parsed.GetValue(AllowDowngrade), cancel);
        Console.WriteLine(count == 0 ? $"The database is already at version {target}."
            : $"{count} script{(count == 1 ? "" : "s")} ran; the database is at version {target}.");
        return 0;
    }

    /// <summary>
    /// SQL goes to standard output and messages to standard error, so that the SQL can be saved to a file.
    /// </summary>
    static async Task<int> TryAsync(Migrator migrator, int target, bool allowDowngrade, CancellationToken cancel)
    {
        var (sql, notTried) = await migrator.DryRunAsync(target, allowDowngrade, cancel);
        Console.Write(sql);
        await Console.Error.WriteLineAsync(
            sql.Length == 0 ? $"There is nothing to do; the database is at version {target}."
                : notTried is null ? "This ran in a transaction and was rolled back; nothing was changed."
                : $"This ran in a transaction up to {notTried.Name}, which cannot be in one, and was rolled back; "
                    + "nothing was changed.");
        return 0;
    }
}
