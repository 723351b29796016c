using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres.Backups;
using Capsul.Postgres.Checks;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db restore</c></summary>
static class DbRestore
{
    static readonly Argument<string> File = new("FILE") { Description = "A backup: plain SQL, behind gzip or not, pg_dump's custom format, or one of these encrypted with age or gpg." };
    static readonly Option<bool> Beside = new("--beside") { Description = "The database is not empty: restore beside it, rename it, and keep it." };
    static readonly Option<string?> Identity = new("--identity") { Description = "File of the private key, for a backup encrypted with age.", HelpName = "FILE" };

    public static Command Make() => CommandLine.Verb("restore", """
        Puts a backup back, into an empty database or, with --beside, beside the present one, which is renamed and kept. Stop the Hub
        first. The file is read to its end before anything is touched; what is damaged, cut off, unfinished, newer than this program or
        of another program is refused, and a restore that fails leaves everything as it was.

        Examples:
          capsul db restore capsul-backup-2026-02-15.gz
          capsul db restore --beside capsul-backup-2026-02-15.gz
          capsul db restore --identity key.txt capsul-backup-2026-02-15.gz.age
        """, RunAsync, File, Beside, Identity);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.OpenAsync(settings, cancel, migrate: false);
        var restored = await new RestoreBackup(database.Db, settings, TimeProvider.System, SeatLock.ForRestore, text => Console.Error.WriteLine($"{text} …"))
            .RunAsync(parsed.GetValue(File)!, parsed.GetValue(Identity), parsed.GetValue(Beside), cancel);
        Console.WriteLine($"Restored: {restored.Holds}; schema version {restored.SchemaVersion}.");
        if (restored.Old is { } old) Console.WriteLine($"The database that was there is called {old} now; drop it when nobody misses it: {DatabaseChecks.DropCommand(old)}");
        Console.WriteLine("Start the Hub now; a Hub that stood by has to be started again.");
        return 0;
    }
}
