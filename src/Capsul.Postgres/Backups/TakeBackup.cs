using System.Globalization;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Dapper;
using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>What was taken: where it lies, its size in bytes, and what the proof compared.</summary>
public sealed record Backup(string File, long Bytes, string Proof);

/// <summary>
/// One backup: a dump of one moment, verified by restoring it into a scratch database and comparing the rows of every
/// table and the sums of every numeric column with those of that same moment. Only then it gets its name. It is
/// remembered in the database, whichever way it went; <see cref="Watch"/> hears of it.
/// </summary>
/// <param name="db">What is backed up.</param>
/// <param name="settings">Where backups go and where the programs are.</param>
/// <param name="time">The clock.</param>
/// <param name="say">Progress messages.</param>
public sealed partial class TakeBackup(Db db, Settings settings, TimeProvider time, Action<string> say)
{
    static readonly TimeSpan RestoreLimit = TimeSpan.FromHours(24);

    /// <param name="Target">A file, a folder that exists, or null for the backup folder.</param>
    /// <param name="Format">Plain or custom.</param>
    /// <param name="EncryptTo">An age or ssh public key, or a gpg recipient; null: not encrypted.</param>
    /// <param name="Reason">asked or scheduled.</param>
    public sealed record Request(string? Target, DumpFormat Format, string? EncryptTo, string Reason);

    public BackupWatch Watch { get; init; } = new();

    /// <exception cref="ProblemException">With what went wrong; nothing is left behind then but the note of
    /// it.</exception>
    public async Task<Backup> RunAsync(Request request, CancellationToken cancel)
    {
        using var turn = TakeTurn();
        var file = FileFor(request);
        if (request.Target is not null && Path.GetDirectoryName(file) is { } folder && !Directory.Exists(folder))
            throw new ProblemException(ProblemKind.NotFound,
                $"There is no folder {folder}. Create it or mount it; nothing was written.");
        if (File.Exists(file))
            throw new ProblemException(ProblemKind.Conflict, $"{file} already exists; nothing was written.");
        long? id = null;
        try
        {
            var started = Now();
            id = await RememberAsync(request, file, started, cancel);
            var backup = await WriteAsync(file, request, cancel);
            BackupFile.Stamp(file, started);
            // It is complete and verified: from here on, cancellation must not turn it into a failure.
            await FinishAsync(id, backup, CancellationToken.None);
            return backup;
        }
        catch (Exception error) when (error is not FencedException)
        {
            var interrupted = await WasInterruptedAsync(cancel);
            var problem = error is ProblemException known ? known.Problem
                : error is NpgsqlException or TimeoutException ? db.Explain(error) : null;
            await FailAsync(id, interrupted ? "It was interrupted." : problem?.Message ?? error.Message);
            if (interrupted) throw new OperationCanceledException(error.Message, error, cancel);
            throw error is ProblemException || problem is null ? error : new ProblemException(problem, error);
        }
    }

    /// <summary>
    /// Ctrl-C goes to the programs that were started too, and their complaint may come before the word that we are to
    /// stop.
    /// </summary>
    public static async Task<bool> WasInterruptedAsync(CancellationToken cancel)
    {
        await Task.Delay(TimeSpan.FromMilliseconds(200), cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return cancel.IsCancellationRequested;
    }

    /// <summary>One at a time in a data folder, before anything is written.</summary>
    DataFolder TakeTurn()
    {
        try
        {
            return DataFolder.Take(settings.Data, "backup");
        }
        catch (ProblemException error) when (error.Problem.Kind == ProblemKind.Conflict)
        {
            throw new ProblemException(ProblemKind.Conflict,
                "Another backup is running on this machine; try again when it has finished.", null, error);
        }
    }

    /// <summary><c>capsul-backup-YYYY-MM-DD.gz</c>, with the time of day when that is taken.</summary>
    string FileFor(Request request)
    {
        if (request.Target is not null && !Directory.Exists(request.Target)
            && !Path.EndsInDirectorySeparator(request.Target))
            return Path.GetFullPath(request.Target);
        var now = time.GetUtcNow();
        var ending = (request.Format == DumpFormat.Custom ? ".dump" : ".gz")
            + (request.EncryptTo is null ? "" : Encryption.Extension(request.EncryptTo));
        var folder = Path.GetFullPath(request.Target ?? settings.BackupFolder);
        var file = Path.Combine(folder,
            string.Create(CultureInfo.InvariantCulture, $"capsul-backup-{now:yyyy-MM-dd}{ending}"));
        return File.Exists(file)
            ? Path.Combine(folder,
            string.Create(CultureInfo.InvariantCulture, $"capsul-backup-{now:yyyy-MM-dd-HHmmss}{ending}")) : file;
    }

    async Task<Backup> WriteAsync(string file, Request request, CancellationToken cancel)
    {
        // An unverified file has a name that nobody takes for a backup, and that restore refuses. What is to be
        // encrypted never lies open where backups go, also when this process is killed.
        var unproved = (request.EncryptTo is null
            ? file : Path.Combine(settings.Data, "scratch", Path.GetFileName(file)))
            + ".unproved" + BackupFile.Unfinished;
        FileStream? held = null;
        try
        {
            foreach (var mine in (string[])[file, unproved]) Directory.CreateDirectory(Path.GetDirectoryName(mine)!);
            foreach (var name in (await EndlessAsync(cancel)).Append(file).Append(unproved))
                BackupFile.ClearLeftovers(name);
            var facts = await DumpAsync(unproved, request.Format, cancel);
            held = new FileStream(unproved, FileMode.Open, FileAccess.Read, FileShare.Read);
            await ProveAsync(unproved, facts, cancel);
            var bytes = new FileInfo(unproved).Length;
            if (request.EncryptTo is { } recipient)
            {
                say($"encrypting to {recipient}");
                bytes = await Encryption.WriteAsync(unproved, file, recipient, cancel);
            }
            else File.Move(unproved, file);
            return new Backup(file, bytes, facts.Summary
                + (request.EncryptTo is null ? "" : "; verified before it was encrypted"));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(ProblemKind.Unavailable, $"{file} cannot be written: {error.Message}",
                null, error);
        }
        finally
        {
            if (held is not null) File.Delete(unproved);
            held?.Dispose();
        }
    }

    /// <summary>Files of those that were killed, wherever those were to go.</summary>
    async Task<IEnumerable<string>> EndlessAsync(CancellationToken cancel) =>
        !await db.AskAsync<bool>(BackupSql.CanRemember, null, cancel) ? []
        : (await db.ListAsync<BackupRow>(BackupSql.Endless, null, cancel)).Select(b => b.File);

    /// <summary>Dump and figures of the same moment: both read the snapshot of one transaction.</summary>
    async Task<DatabaseFacts> DumpAsync(string file, DumpFormat format, CancellationToken cancel)
    {
        await using var connection = await db.OpenAloneAsync("capsul backup", cancel);
        await using var moment = await connection.BeginTransactionAsync(System.Data.IsolationLevel.RepeatableRead,
            cancel);
        var snapshot = await connection.ExecuteScalarAsync<string>(
            new CommandDefinition(BackupSql.ExportSnapshot, cancellationToken: cancel));
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
            if (dump.IsCompletedSuccessfully) File.Delete(file);
            throw;
        }
    }

    async Task ProveAsync(string file, DatabaseFacts facts, CancellationToken cancel)
    {
        say("verifying: restoring into a scratch database");
        try
        {
            await CompareAsync(file, facts, cancel);
        }
        catch (ProblemException error)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"It could not be verified, and was deleted. {error.Problem.Message}", error.Problem.Detail, error);
        }
    }

    async Task CompareAsync(string file, DatabaseFacts facts, CancellationToken cancel)
    {
        await using var scratch = await ScratchDatabase.MakeAsync(settings, db, cancel);
        await RestoreAsync(new BackupFile(file, null, settings.PostgresBin) { MayBeUnproved = true },
            settings, scratch.Address, cancel);
        await using var copy = new Db(scratch.Address.ConnectionString);
        await using var connection = await copy.OpenAloneAsync("capsul backup", cancel);
        var restored = await DatabaseFacts.ReadAsync(connection, cancel);
        if (facts.Differences(restored) is { Count: > 0 } differences)
            throw new ProblemException(ProblemKind.Conflict,
                $"It does not match the database: {string.Join("; ", differences)}.");
    }

    /// <summary>All of a backup into an empty database, in one transaction.</summary>
    /// <exception cref="ProblemException">Invalid: psql refused a statement, or the file is damaged; the database is as
    /// empty as before.</exception>
    /// <param name="file">What.</param>
    /// <param name="settings">Where the programs are.</param>
    /// <param name="into">An empty database.</param>
    /// <param name="cancel">Gives up; it is as empty as before then.</param>
    /// <param name="then">A statement that belongs to it, in the same transaction.</param>
    public static async Task RestoreAsync(
        BackupFile file, Settings settings, DatabaseAddress into, CancellationToken cancel, string? then = null)
    {
        var psql = PostgresPrograms.Make(settings.PostgresBin, into, "psql", [
            "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction",
                "--output=/dev/null", $"--command={BackupSql.MarkTransaction}",
            "--file=-", $"--command={BackupSql.SearchPath}", $"--command={BackupSql.CheckTransaction}", .. then is null
                ? [] : new[] { $"--command={then}" }]);
        var result = await (psql with
        {
            Timeout = RestoreLimit,
            WriteInput = (input, stop) =>
                file.ReadAsync((sql, token) => LargeObjects.CopyAsync(sql, input, token), stop),
        }).TryRunAsync(cancel);
        if (result.ExitCode != 0 && result.Error.Contains(BackupSql.Mark, StringComparison.Ordinal))
            throw new ProblemException(ProblemKind.Invalid,
                "The backup could not be restored: it ends the transaction in which it is restored. Part of it may "
                    + "have been kept: recreate the database.", result.Error);
        if (result.ExitCode != 0)
            throw new ProblemException(ProblemKind.Invalid,
                $"The backup could not be restored: {Explain(result)} Nothing of it was kept.", result.Error);
    }

    /// <summary>psql's own first complaint. A dump with owners needs their roles.</summary>
    static string Explain(CommandResult psql)
    {
        var says = (psql.Error.Split('\n').FirstOrDefault(l => l.Contains("ERROR: ", StringComparison.Ordinal))
            ?? psql.LastLine).TrimEnd('.');
        return MissingRole().Match(says) is { Success: true } match
            ? $"{says}. Create that role first: CREATE ROLE {match.Groups["role"].Value};" : $"{says}.";
    }

    [GeneratedRegex("role (?<role>\".+\") does not exist", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex MissingRole();

    /// <summary>A row for it, unless the schema is too old to have the table; then null.</summary>
    async Task<long?> RememberAsync(Request request, string file, DateTime started, CancellationToken cancel)
    {
        if (!await db.AskAsync<bool>(BackupSql.CanRemember, null, cancel)) return null;
        return await db.InTransactionAsync(async transaction =>
        {
            await Watch.Fence(transaction, cancel);
            return await transaction.AskAsync<long>(BackupSql.Begin, new
            {
                reason = request.Reason,
                now = started,
                file,
                format = request.Format == DumpFormat.Custom ? "custom" : "plain",
                encryptedTo = request.EncryptTo ?? "",
                schemaVersion = await transaction.AskAsync<int>(ServerSql.SchemaVersion, null, cancel),
            }, cancel);
        }, cancel);
    }

    Task FinishAsync(long? id, Backup backup, CancellationToken cancel) =>
        id is null ? Task.CompletedTask : db.InTransactionAsync(async transaction =>
    {
        await Watch.Fence(transaction, cancel);
        await transaction.ExecuteAsync(
            BackupSql.Finish, new { id, now = Now(), bytes = backup.Bytes, proved = Now(), proof = backup.Proof },
                cancel);
        await Watch.Succeeded(transaction, cancel);
    }, cancel);

    /// <summary>Also when it was interrupted; a database that is away cannot be told.</summary>
    async Task FailAsync(long? id, string problem)
    {
        if (id is null) return;
        try
        {
            await db.InTransactionAsync(async transaction =>
            {
                await Watch.Fence(transaction, CancellationToken.None);
                await FailAsync(transaction, Watch, id.Value, Now(), problem, CancellationToken.None);
            }, CancellationToken.None);
        }
        catch (Exception error) when (error is NpgsqlException or TimeoutException or FencedException)
        {
            // The row stays without an end, which counts as failed; the Hub that acts next says so.
        }
    }

    /// <summary>Notes that a backup failed, and says so.</summary>
    public static async Task FailAsync(
        NpgsqlTransaction transaction, BackupWatch watch, long id, DateTime at,
            string problem, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(BackupSql.Fail, new { id, problem }, cancel);
        await watch.Failed(transaction, $"The backup of {at:yyyy-MM-ddTHH:mm:ssZ} failed: {problem}", cancel);
    }

    DateTime Now() => time.GetUtcNow().UtcDateTime;
}
