using System.CommandLine;
using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db verify</c>: compares the live schema with the one that the scripts create.</summary>
static class DbVerify
{
    public static Command Make() => CommandLine.Verb("verify", """
        Compares the live schema, object by object, with the one that the scripts create, and lists what is missing,
        extra or changed. The scripts run in a scratch database on the same server, which is then dropped. Exit code 1
        when there are differences.

        Example:
          capsul db verify
        """, RunAsync);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        await using var database = await CliDatabase.ConnectAsync(Settings.Load(), cancel);
        var version = await SchemaCheck.VersionAsync(database.Db, cancel)
            ?? throw new ProblemException(ProblemKind.NotFound, "This database was never migrated: it has no table "
                + "schemaversion. See capsul db migrate, and capsul db baseline.");
        if (version > Migrator.DesiredVersion)
            throw new ProblemException(ProblemKind.Conflict, $"The database is at schema version {version}, newer than "
                + $"this program, which knows up to {Migrator.DesiredVersion}. Use the newer program.");
        var drift = await SchemaCheck.CompareAsync(database.Db, MigrationScripts.Embedded, version, cancel);
        Print(drift);
        Console.WriteLine(drift.Count == 0
            ? $"The schema is that of version {version}."
            : $"{drift.Count} difference{(drift.Count == 1 ? "" : "s")} to version {version}.");
        return drift.Count == 0 ? 0 : 1;
    }

    public static void Print(IReadOnlyList<Drift> drift)
    {
        foreach (var difference in drift)
        {
            Console.WriteLine($"{difference.What,-8} {difference.Kind} {difference.Name}");
            if (difference.What != "changed") continue;
            Console.WriteLine(Indented("golden", difference.Golden!));
            Console.WriteLine(Indented("live", difference.Live!));
        }
    }

    static string Indented(string side, string text) => string.Join(
        '\n', text.Trim().Split('\n').Select((line, n) => $"         {(n == 0 ? side + ":" : ""),-8}{line}"));
}
