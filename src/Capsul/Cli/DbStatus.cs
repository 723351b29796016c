using System.CommandLine;
using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Spectre.Console;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db status</c>: versions and scripts, as a table.</summary>
static class DbStatus
{
    public static Command Make() => CommandLine.Verb("status", """
        Lists schema versions: applied, pending, interrupted, or edited (the script has changed since it was applied).

        Example:
          capsul db status
        """, RunAsync);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.ConnectAsync(Settings.Load(), cancel);
        var status = await SchemaStatus.ReadAsync(database.Db, MigrationScripts.Embedded, cancel);
        var table = new Table().Border(TableBorder.Simple)
            .AddColumns("version", "script", "state", "applied", "took", "by");
        foreach (var line in status.Lines)
        {
            table.AddRow([.. new[] { line.Version.ToString(), line.Script, line.State,
                line.Applied?.Applied.ToString("yyyy-MM-ddTHH:mm:ssZ") ?? "",
                line.Applied?.TookMs is { } ms ? $"{ms} ms" : "", line.Applied?.AppliedBy ?? "" }
                .Select(Markup.Escape)]);
        }
        Tables.Write(table);
        Console.WriteLine(Says(status));
        return 0;
    }

    static string Says(SchemaStatus status) =>
        status.Lines.Any(l => l.State == "interrupted")
            ? $"The database is at version {status.Version}, and a script was interrupted: capsul db repair."
        : status.Lines.Any(l => l.State == "edited")
            ? $"The database is at version {status.Version}, but was migrated with other scripts than this program's."
        : status.Version > status.Wanted ? $"The database is at version {status.Version}, newer than this program, "
            + $"which knows up to {status.Wanted}."
        : status.Version < status.Wanted ?
            $"The database is at version {status.Version}; this program needs {status.Wanted} and upgrades it when "
            + "the Hub next starts, or now with: capsul db migrate."
        : $"The database is at version {status.Version}, which is what this program needs.";
}
