using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Postgres.Backups;
using Capsul.Postgres.Checks;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul db backup</c></summary>
static class DbBackup
{
    static readonly Argument<string?> Target = new("FILE|DIR")
    {
        Description = "A new file, or a folder. Default: the backup folder (CAPSUL_BACKUP_FOLDER).",
        Arity = ArgumentArity.ZeroOrOne,
    };
    static readonly Option<DumpFormat> Format = new("--format")
    {
        Description =
        "plain (gzipped SQL, for zcat and psql) or custom (for "
        + "pg_restore).",
        DefaultValueFactory = _ => DumpFormat.Plain
    };
    static readonly Option<string?> EncryptTo = new("--encrypt-to")
    {
        Description = "An age or ssh public key, or a gpg key id or address.",
        HelpName = "RECIPIENT",
    };

    public static Command Make() => CommandLine.Verb("backup", """
        Writes the whole database into one file, capsul-backup-YYYY-MM-DD.gz, while the Hub keeps running. The file is
        verified before it gets its name: it is restored into a scratch database, and the row counts and numeric sums of
        every table are compared. The secret key (secret.key in the data folder) is not included: keep a copy elsewhere.

        Examples:
          capsul db backup                         into the backup folder
          capsul db backup /mnt/usb                into that folder
          capsul db backup before-the-move.gz      into that file
          capsul db backup --encrypt-to age1…      readable only with the private key
        """, RunAsync, Target, Format, EncryptTo);

    static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancel)
    {
        var settings = Settings.Load();
        await using var database = await CliDatabase.ConnectAsync(settings, cancel);
        var request = new TakeBackup.Request(
            parsed.GetValue(Target), parsed.GetValue(Format), parsed.GetValue(EncryptTo), "asked");
        var backup = await new TakeBackup(
            database.Db, settings, TimeProvider.System, text => Console.Error.WriteLine($"{text} …"))
        { Watch = BackupAlert.Watch(settings, TimeProvider.System) }.RunAsync(request, cancel);
        Console.WriteLine($"{backup.File}  ({DatabaseChecks.Size(backup.Bytes)}; verified: {backup.Proof})");
        return 0;
    }
}
