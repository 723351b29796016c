using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Dunning;
using Capsul.Postgres.Backups;
using Capsul.Postgres.Checks;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db restore</c></summary>
static class DbRestore
{
    static readonly Argument<string> File = new("FILE")
    {
        Description =
        "A backup: plain SQL, optionally gzipped, or pg_dump's custom format; either may be encrypted with age "
        + "or gpg."
    };
    static readonly Option<bool> Beside = new("--beside")
    {
        Description =
        "Restore beside a database that is not empty; the current one is renamed and kept."
    };
    static readonly Option<string?> Identity = new("--identity")
    {
        Description =
        "Private key file, for a backup encrypted with age.",
        HelpName = "FILE"
    };

    public static Command Make() => CommandLine.Verb("restore", """
        Restores a backup into an empty database or, with --beside, beside the current one, which is renamed and kept.
        Stop the Hub first. The whole file is read before anything is changed. A file that is damaged, truncated,
        unfinished, newer than this program or from another program is refused. If a restore fails, nothing is changed.

        Examples:
          capsul db restore capsul-backup-2026-02-15.gz
          capsul db restore --beside capsul-backup-2026-02-15.gz
          capsul db restore --identity key.txt capsul-backup-2026-02-15.gz.age
        """, RunAsync, File, Beside, Identity);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.ConnectAsync(settings, cancel);
        var restored = await new RestoreBackup(database.Db, settings, TimeProvider.System,
            PauseDunning.After(BeginAgain.AfterRestore), text => Console.Error.WriteLine($"{text} …"))
            .RunAsync(parsed.GetValue(File)!, parsed.GetValue(Identity), parsed.GetValue(Beside), cancel);
        Console.WriteLine($"Restored: {restored.Holds}; schema version {restored.SchemaVersion}.");
        if (restored.Old is { } old) Console.WriteLine(
            $"The previous database is now called {old}; drop it when it is no longer needed: "
            + $"{DatabaseChecks.DropCommand(old)}");
        Console.WriteLine("If receipts were given to customers since this backup, their numbers must not be given out "
            + "again. Say with which one to go on, before the Hub starts: capsul receipt continue-at N --reason TEXT");
        Console.WriteLine("Start the Hub now; restart any standby Hubs.");
        return 0;
    }
}
