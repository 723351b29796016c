using System.Globalization;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Dapper;
using Npgsql;

namespace Capsul.Hub.Database.Backups;

/// <summary>What was taken: where it lies, its size in bytes, and what the proof compared.</summary>
public sealed record Backup(string File, long Bytes, string Proof);

/// <summary>
/// One backup: a dump of one moment, proved by restoring it into a scratch database and comparing the rows of every table and the
/// sums of every numeric column with those of that same moment. Only then it gets its name. It is remembered in the database,
/// whichever way it went; one that fails raises an alert.
/// </summary>
/// <param name="db">What is backed up.</param>
/// <param name="settings">Where backups go and where the programs are.</param>
/// <param name="time">The clock.</param>
/// <param name="say">Told what is being done, for whoever waits.</param>
public sealed partial class TakeBackup(Db db, Settings settings, TimeProvider time, Action<string> say)
{
    static readonly TimeSpan RestoreLimit = TimeSpan.FromHours(24);

    /// <param name="Target">A file, a folder that exists, or null for the backup folder.</param>
    /// <param name="Format">Plain or custom.</param>
    /// <param name="EncryptTo">An age or ssh public key, or a gpg recipient; null: not encrypted.</param>
    /// <param name="Reason">asked or scheduled.</param>
    public sealed record Wish(string? Target, DumpFormat Format, string? EncryptTo, string Reason);

    /// <exception cref="ProblemException">With what went wrong; nothing is left behind then but the note of it.</exception>
    public async Task<Backup> RunAsync(Wish wish, CancellationToken cancel)
    {
        var file = FileFor(wish);
        if (File.Exists(file)) throw new ProblemException(ProblemKind.Conflict, $"{file} exists already; nothing was written.");
        var id = await RememberAsync(wish, file, cancel);
        try
        {
            var backup = await WriteAsync(file, wish, cancel);
            await FinishAsync(id, backup, cancel);
            return backup;
        }
        catch (Exception error)
        {
            await FailAsync(id, error is ProblemException known ? known.Problem.Message : error is OperationCanceledException ? "It was interrupted." : error.Message);
            throw error is NpgsqlException ? new ProblemException(db.Explain(error), error) : error;
        }
    }

    /// <summary><c>capsul-backup-YYYY-MM-DD.gz</c>, with the time of day when that is taken.</summary>
    string FileFor(Wish wish)
    {
        if (wish.Target is not null && !Directory.Exists(wish.Target)) return Path.GetFullPath(wish.Target);
        var now = time.GetUtcNow();
        var ending = (wish.Format == DumpFormat.Custom ? ".dump" : ".gz") + (wish.EncryptTo is null ? "" : Encryption.Extension(wish.EncryptTo));
        var folder = Path.GetFullPath(wish.Target ?? settings.BackupFolder);
        var file = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"capsul-backup-{now:yyyy-MM-dd}{ending}"));
        return File.Exists(file) ? Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"capsul-backup-{now:yyyy-MM-dd-HHmmss}{ending}")) : file;
    }

    async Task<Backup> WriteAsync(string file, Wish wish, CancellationToken cancel)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        // What is not proved yet has a name that nobody takes for a backup, and that restore refuses.
        var unproved = file + ".unproved" + BackupFile.Unfinished;
        File.Delete(unproved);
        try
        {
            var facts = await DumpAsync(unproved, wish.Format, cancel);
            await ProveAsync(unproved, facts, cancel);
            var bytes = new FileInfo(unproved).Length;
            if (wish.EncryptTo is { } recipient)
            {
                say($"encrypting to {recipient}");
                bytes = await Encryption.WriteAsync(unproved, file, recipient, cancel);
            }
            else File.Move(unproved, file);
            return new Backup(file, bytes, facts.Summary + (wish.EncryptTo is null ? "" : "; proved before it was encrypted"));
        }
        finally
        {
            File.Delete(unproved);
        }
    }

    /// <summary>Dump and figures of the same moment: both read the snapshot of one transaction.</summary>
    async Task<DatabaseFacts> DumpAsync(string file, DumpFormat format, CancellationToken cancel)
    {
        await using var connection = await db.OpenAloneAsync("capsul backup", cancel);
        await using var moment = await connection.BeginTransactionAsync(System.Data.IsolationLevel.RepeatableRead, cancel);
        var snapshot = await connection.ExecuteScalarAsync<string>(new CommandDefinition(BackupSql.ExportSnapshot, cancellationToken: cancel));
        say("dumping");
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var dump = Dump.WriteAsync(settings.PostgresBin, db.Address, file, format, snapshot, both.Token);
        try
        {
            var facts = await DatabaseFacts.ReadAsync(connection, both.Token);
            await dump;
            return facts;
        }
        catch
        {
            await both.CancelAsync();
            await ((Task)dump).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
    }

    async Task ProveAsync(string file, DatabaseFacts facts, CancellationToken cancel)
    {
        say("proving it: restoring into a scratch database");
        await using var scratch = await ScratchDatabase.MakeAsync(settings, db, cancel);
        await RestoreAsync(new BackupFile(file, null, settings.PostgresBin) { MayBeUnproved = true }, settings, scratch.Address, cancel);
        await using var copy = new Db(scratch.Address.ConnectionString);
        await using var connection = await copy.OpenAloneAsync("capsul backup", cancel);
        var restored = await DatabaseFacts.ReadAsync(connection, cancel);
        if (facts.Differences(restored) is { Count: > 0 } differences)
            throw new ProblemException(ProblemKind.Conflict, $"The backup does not hold what the database held; it was thrown away. {string.Join("; ", differences)}.");
    }

    /// <summary>All of a backup into an empty database, in one transaction.</summary>
    /// <exception cref="ProblemException">Invalid: psql refused a statement, or the file is damaged; the database is as empty as before.</exception>
    public static async Task RestoreAsync(BackupFile file, Settings settings, DatabaseAddress into, CancellationToken cancel)
    {
        var psql = PostgresPrograms.Make(settings.PostgresBin, into, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--output=/dev/null", "--file=-");
        var result = await (psql with { Timeout = RestoreLimit, WriteInput = (input, stop) => file.ReadAsync((sql, token) => sql.CopyToAsync(input, 1 << 17, token), stop) }).TryRunAsync(cancel);
        if (result.ExitCode != 0)
            throw new ProblemException(ProblemKind.Invalid, $"The backup could not be restored: {Explain(result)} Nothing of it was kept.", result.Error);
    }

    /// <summary>psql's own first complaint. A dump with owners needs their roles.</summary>
    static string Explain(CommandResult psql)
    {
        var says = (psql.Error.Split('\n').FirstOrDefault(l => l.Contains("ERROR: ", StringComparison.Ordinal)) ?? psql.LastLine).TrimEnd('.');
        return MissingRole().Match(says) is { Success: true } match ? $"{says}. Make that role first: CREATE ROLE {match.Groups["role"].Value};" : $"{says}.";
    }

    [GeneratedRegex("role (?<role>\".+\") does not exist", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex MissingRole();

    /// <summary>A row for it, unless the schema is too old to have the table; then null.</summary>
    async Task<long?> RememberAsync(Wish wish, string file, CancellationToken cancel)
    {
        if (!await db.FindAsync<bool>(BackupSql.CanRemember, null, cancel)) return null;
        return await db.FindAsync<long>(BackupSql.Begin, new
        {
            reason = wish.Reason,
            now = Now(),
            file,
            format = wish.Format == DumpFormat.Custom ? "custom" : "plain",
            encryptedTo = wish.EncryptTo ?? "",
            schemaVersion = await db.FindAsync<int>(BackupSql.SchemaVersion, null, cancel),
        }, cancel);
    }

    Task FinishAsync(long? id, Backup backup, CancellationToken cancel) => id is null ? Task.CompletedTask : db.InTransactionAsync(async transaction =>
    {
        await transaction.ExecuteAsync(BackupSql.Finish, new { id, now = Now(), bytes = backup.Bytes, proved = Now(), proof = backup.Proof }, cancel);
        await RaiseAlert.ClearAsync(transaction, RaiseAlert.BackupFailed, "", time, cancel);
        return true;
    }, cancel);

    /// <summary>Also when it was interrupted; a database that is away cannot be told.</summary>
    async Task FailAsync(long? id, string problem)
    {
        if (id is null) return;
        try
        {
            await db.InTransactionAsync(async transaction =>
            {
                await transaction.ExecuteAsync(BackupSql.Fail, new { id, problem }, CancellationToken.None);
                await RaiseAlert.InAsync(transaction, settings, RaiseAlert.BackupFailed, "", $"The backup of {Now():yyyy-MM-ddTHH:mm:ssZ} failed: {problem}", time, CancellationToken.None);
                return true;
            }, CancellationToken.None);
        }
        catch (NpgsqlException)
        {
            // The row stays without an end, which counts as failed.
        }
    }

    DateTime Now() => time.GetUtcNow().UtcDateTime;
}
