using System.Globalization;
using System.Text.RegularExpressions;
using Capsul.Foundation;
using Dapper;
using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>A finished backup: its path, its size in bytes, and what the verification compared.</summary>
public sealed record Backup(string File, long Bytes, string Proof);

/// <summary>
/// Takes a backup: a dump of one snapshot, verified by restoring it into a scratch database and comparing the row
/// counts of every table and the sums of every numeric column with those in the snapshot. Only then does it get its
/// name. Success or failure is recorded in the database and reported to <see cref="Watch"/>.
/// </summary>
/// <param name="db">The database to back up.</param>
/// <param name="settings">Contains the backup folder and the programs' folder.</param>
/// <param name="time">The clock.</param>
/// <param name="say">Progress messages.</param>
public sealed partial class TakeBackup(Db db, Settings settings, TimeProvider time, Action<string> say)
{
    static readonly TimeSpan RestoreLimit = TimeSpan.FromHours(24);

    /// <param name="Target">A file, an existing folder, or null for the backup folder.</param>
    /// <param name="Format">Plain or custom.</param>
    /// <param name="EncryptTo">An age or ssh public key, or a gpg recipient; null: not encrypted.</param>
    /// <param name="Reason">asked or scheduled.</param>
    public sealed record Request(string? Target, DumpFormat Format, string? EncryptTo, string Reason);

    public BackupWatch Watch { get; init; } = new();

    /// <exception cref="ProblemException">With what went wrong; nothing is left behind but the record of the
    /// failure.</exception>
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
            // The backup is complete and verified: from here on, cancellation must not turn it into a failure.
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
    /// Ctrl-C is also sent to the child programs, and their error may arrive before our own cancellation.
    /// </summary>
    public static async Task<bool> WasInterruptedAsync(CancellationToken cancel)
    {
        await Task.Delay(TimeSpan.FromMilliseconds(200), cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return cancel.IsCancellationRequested;
    }

    /// <summary>One at a time per data folder; locked before anything is written.</summary>
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

    /// <summary><c>capsul-backup-YYYY-MM-DD.gz</c>, with the time of day if that name is taken.</summary>
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
        // An unverified file has a name that cannot be mistaken for a backup, and that restore refuses. Plaintext of an
        // encrypted backup is never in the backup folder, even if this process is killed.
        var unverified = (request.EncryptTo is null
            ? file : Path.Combine(settings.Data, "scratch", Path.GetFileName(file)))
            + ".unverified" + BackupFile.Unfinished;
        FileStream? held = null;
        try
        {
            foreach (var mine in (string[])[file, unverified]) Directory.CreateDirectory(Path.GetDirectoryName(mine)!);
            foreach (var name in (await EndlessAsync(cancel)).Append(file).Append(unverified))
                BackupFile.ClearLeftovers(name);
            var facts = await DumpAsync(unverified, request.Format, cancel);
            held = new FileStream(unverified, FileMode.Open, FileAccess.Read, FileShare.Read);
            await VerifyAsync(unverified, facts, cancel);
            var bytes = new FileInfo(unverified).Length;
            if (request.EncryptTo is { } recipient)
            {
                say($"encrypting to {recipient}");
                bytes = await Encryption.WriteAsync(unverified, file, recipient, cancel);
            }
            else File.Move(unverified, file);
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
            if (held is not null) File.Delete(unverified);
            held?.Dispose();
        }
    }

    /// <summary>Files of killed backups, wherever they were written.</summary>
    async Task<IEnumerable<string>> EndlessAsync(CancellationToken cancel) =>
        !await db.AskAsync<bool>(BackupSql.CanRemember, null, cancel) ? []
        : (await db.ListAsync<BackupRow>(BackupSql.Endless, null, cancel)).Select(b => b.File);

    /// <summary>Dump and figures are consistent: both read the snapshot of one transaction.</summary>
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

    async Task VerifyAsync(string file, DatabaseFacts facts, CancellationToken cancel)
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
        await RestoreAsync(new BackupFile(file, null, settings.PostgresBin) { AllowUnverified = true },
            settings, scratch.Address, cancel);
        await using var copy = new Db(scratch.Address.ConnectionString);
        await using var connection = await copy.OpenAloneAsync("capsul backup", cancel);
        var restored = await DatabaseFacts.ReadAsync(connection, cancel);
        if (facts.Differences(restored) is { Count: > 0 } differences)
            throw new ProblemException(ProblemKind.Conflict,
                $"It does not match the database: {string.Join("; ", differences)}.");
    }

    /// <summary>Restores a backup into an empty database, in one transaction.</summary>
    /// <exception cref="ProblemException">Invalid: psql refused a statement, or the file is damaged; the database is
    /// still empty.</exception>
    /// <param name="file">The backup.</param>
    /// <param name="settings">Contains the programs' folder.</param>
    /// <param name="into">An empty database.</param>
    /// <param name="cancel">Cancels; the database is then still empty.</param>
    /// <param name="then">A statement to run in the same transaction.</param>
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

    /// <summary>psql's first error. A dump with owners needs their roles.</summary>
    static string Explain(CommandResult psql)
    {
        var says = (psql.Error.Split('\n').FirstOrDefault(l => l.Contains("ERROR: ", StringComparison.Ordinal))
            ?? psql.LastLine).TrimEnd('.');
        return MissingRole().Match(says) is { Success: true } match
            ? $"{says}. Create that role first: CREATE ROLE {match.Groups["role"].Value};" : $"{says}.";
    }

    [GeneratedRegex("role (?<role>\".+\") does not exist", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex MissingRole();

    /// <summary>Inserts its row; null if the schema is too old to have the table.</summary>
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

    /// <summary>Also when it was interrupted; if the database is unreachable, this cannot be recorded.</summary>
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
            // The row stays unfinished, which counts as failed; the next active Hub records that.
        }
    }

    /// <summary>Records and reports that a backup failed.</summary>
    public static async Task FailAsync(
        NpgsqlTransaction transaction, BackupWatch watch, long id, DateTime at,
            string problem, CancellationToken cancel)
    {
        await transaction.ExecuteAsync(BackupSql.Fail, new { id, problem }, cancel);
        await watch.Failed(transaction, $"The backup of {at:yyyy-MM-ddTHH:mm:ssZ} failed: {problem}", cancel);
    }

    DateTime Now() => time.GetUtcNow().UtcDateTime;
}
