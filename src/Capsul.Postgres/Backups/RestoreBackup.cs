using System.Globalization;
using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Dapper;
using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>The result of a restore.</summary>
/// <param name="SchemaVersion">Schema version of the restored database; the next Hub upgrades it.</param>
/// <param name="Holds">Tables, rows and sums.</param>
/// <param name="Old">New name of the previous database; null if there was none.</param>
public sealed record Restored(int SchemaVersion, string Holds, string? Old);

/// <summary>
/// Restores a backup: into an empty database, or, if requested, beside the current one, which is renamed and kept. The
/// whole file is read before anything is changed; if the restore fails, nothing is changed.
/// </summary>
public sealed class RestoreBackup(Db db, Settings settings, TimeProvider time, RestoreFence fence, Action<string> say)
{
    /// <summary>The database from which others are created and renamed.</summary>
    const string Maintenance = "postgres";

    static readonly TimeSpan EndEvery = TimeSpan.FromMilliseconds(100);

    /// <param name="path">The backup.</param>
    /// <param name="identity">File with the private key, for a backup encrypted with age.</param>
    /// <param name="beside">Restore beside a database that is not empty, and swap names.</param>
    /// <param name="cancel">Cancels; then nothing is changed.</param>
    /// <exception cref="ProblemException">With what prevents the restore, or what is wrong with the file.</exception>
    public async Task<Restored> RunAsync(string path, string? identity, bool beside, CancellationToken cancel)
    {
        var file = new BackupFile(path, identity, settings.PostgresBin);
        say("reading the backup");
        var content = await file.CheckAsync(cancel);
        if (content.SchemaVersion > Migrator.DesiredVersion)
            throw new ProblemException(ProblemKind.Conflict,
                $"{path} has schema version {content.SchemaVersion}, and this program knows up to "
                    + $"{Migrator.DesiredVersion}. Use the newer program; nothing was changed.");
        try
        {
            await using var held = await fence.TakeAsync(db, cancel);
            if (await db.AskAsync<int>(BackupSql.TableCount, null, cancel) == 0)
            {
                say("restoring");
                await TakeBackup.RestoreAsync(file, settings, db.Address, cancel, then: fence.Afterwards);
                // The restore is complete, even if the caller cancels now.
                return new Restored(content.SchemaVersion, await FinishAsync(db, CancellationToken.None), null);
            }
            if (!beside)
                throw new ProblemException(ProblemKind.Conflict,
                    "The database is not empty. With --beside the backup is restored beside it, and the current one "
                        + "is renamed and kept; nothing was changed.");
            return await BesideAsync(file, content, held, cancel);
        }
        catch (Exception error) when (error is NpgsqlException or ProblemException)
        {
            if (await TakeBackup.WasInterruptedAsync(cancel))
                throw new OperationCanceledException(error.Message, error, cancel);
            throw error is ProblemException ? error : new ProblemException(db.Explain(error), error);
        }
    }

    async Task<Restored> BesideAsync(
        BackupFile file, BackupContent content, NpgsqlConnection held, CancellationToken cancel)
    {
        var name = new NpgsqlConnectionStringBuilder(db.Address.ConnectionString).Database!;
        var stamp = time.GetUtcNow().ToString("yyyyMMddHHmmss", CultureInfo.InvariantCulture);
        var (made, old) = ($"{name}_restored_{stamp}", $"{name}_before_{stamp}");
        await using var maintenance = new Db(db.Address.For(Maintenance).ConnectionString);
        await CreateAsync(maintenance, made, cancel);
        string holds;
        try
        {
            say($"restoring into {made}");
            await TakeBackup.RestoreAsync(file, settings, db.Address.For(made), cancel, then: fence.Afterwards);
            await using var restored =
                new Db(new NpgsqlConnectionStringBuilder(
                db.Address.For(made).ConnectionString)
                { Pooling = false }.ConnectionString);
            holds = await FinishAsync(restored, cancel);
            say($"renaming {name} to {old}, and {made} to {name}");
            await SwapAsync(maintenance, held, name, made, old, cancel);
        }
        catch
        {
            await maintenance.RunMadeAsync(BackupSql.DropStatement, new { name = made }, CancellationToken.None);
            throw;
        }
        return new Restored(content.SchemaVersion, holds, old);
    }

    static async Task CreateAsync(Db maintenance, string name, CancellationToken cancel)
    {
        try
        {
            await maintenance.RunMadeAsync(BackupSql.CreateStatement, new { name }, cancel);
        }
        catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.InsufficientPrivilege)
        {
            throw new ProblemException(ProblemKind.Forbidden,
                "The database user may not create databases. Ask an administrator to run ALTER ROLE … CREATEDB, "
                + "or create an "
                    + "empty database and name that in CAPSUL_DATABASE; nothing was changed.", null, error);
        }
    }

    /// <summary>
    /// Both renames are one transaction, so that at every moment, even if this process or the server is killed, the
    /// name refers to the old database or to the new one. A rename requires that the database has no sessions: it makes
    /// new ones wait, while existing ones are ended from another connection.
    /// </summary>
    /// <exception cref="ProblemException">Conflict: there are sessions that this user may not end.</exception>
    static async Task SwapAsync(
        Db maintenance, NpgsqlConnection held, string name, string made, string old, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        await held.CloseAsync();
        using var renamed = new CancellationTokenSource();
        var ending = EndSessionsAsync(maintenance, name, renamed.Token);
        try
        {
            await maintenance.InTransactionAsync(async transaction =>
            {
                await transaction.RunMadeAsync(BackupSql.RenameStatement,
                    new { from = name, to = old }, CancellationToken.None);
                await transaction.RunMadeAsync(BackupSql.RenameStatement,
                    new { from = made, to = name }, CancellationToken.None);
            }, CancellationToken.None);
        }
        catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.ObjectInUse)
        {
            var inside = await maintenance.ListAsync<string>(BackupSql.Sessions, new { name }, CancellationToken.None);
            var who = inside.Count == 0 ? "somebody" : string.Join(", ", inside);
            throw new ProblemException(ProblemKind.Conflict,
                $"The database is in use by {who}, which this database user may not disconnect. End it first; nothing "
                    + "was changed.",
                null, error);
        }
        finally
        {
            await renamed.CancelAsync();
            await ending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    static async Task EndSessionsAsync(Db maintenance, string name, CancellationToken cancel)
    {
        while (true)
        {
            await maintenance.FindAsync<int>(BackupSql.EndSessions, new { name }, cancel);
            await Task.Delay(EndEvery, cancel);
        }
    }

    /// <summary>
    /// Returns the contents' summary, and removes rows that were only valid while the backup was written.
    /// </summary>
    static async Task<string> FinishAsync(Db restored, CancellationToken cancel)
    {
        await using var connection = await restored.OpenAloneAsync("capsul restore", cancel);
        var facts = await DatabaseFacts.ReadAsync(connection, cancel);
        if (await connection.ExecuteScalarAsync<bool>(
            new CommandDefinition(BackupSql.CanRemember, cancellationToken: cancel)))
            await connection.ExecuteAsync(new CommandDefinition(BackupSql.ForgetEndless, cancellationToken: cancel));
        return facts.Summary;
    }
}
