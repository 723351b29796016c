using Capsul.Foundation;
using Dapper;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Postgres.Backups;

/// <summary>
/// An empty database to restore into and then drop. It is in a private cluster created for the purpose, so that the
/// production server has no extra load and need not grant anything; only if PostgreSQL's server programs are missing
/// here, or too old, is it created beside the real one. One at a time per machine; leftovers of a killed one are
/// removed by the next.
/// </summary>
public sealed class ScratchDatabase : IAsyncDisposable
{
    /// <summary>It is discarded, so it need not survive a crash, and loading needs only minimal WAL.</summary>
    public static IReadOnlyList<string> ForLoading { get; } =
    [
        "wal_level = minimal", "max_wal_senders = 0", "maintenance_work_mem = '256MB'",
            "shared_buffers = '256MB'", "autovacuum = off",
        "max_wal_size = '4GB'",
    ];

    /// <summary>Name prefix of one that is created beside the real one.</summary>
    public const string NamePrefix = "capsul_scratch_";

    readonly DataFolder folder;
    readonly Settings? cluster;
    readonly Db? beside;

    ScratchDatabase(DataFolder folder, DatabaseAddress address, Settings? cluster, Db? beside) =>
        (this.folder, Address, this.cluster, this.beside) = (folder, address, cluster, beside);

    public DatabaseAddress Address { get; }

    /// <summary>Creates one.</summary>
    /// <exception cref="ProblemException">Conflict: another backup or restore is running. Unavailable: it cannot be
    /// created.</exception>
    public static async Task<ScratchDatabase> MakeAsync(Settings settings, Db db, CancellationToken cancel)
    {
        var path = Path.Combine(settings.Data, "scratch");
        var folder = TakeFolder(path);
        try
        {
            var server = await db.AskAsync<int>(ServerSql.ServerVersion, null, cancel) / 10_000;
            if (LocalMajor(settings) is not { } local || local < server)
                return await MakeBesideAsync(folder, settings, db, cancel);
            return await MakeClusterAsync(folder,
                settings.With(("CAPSUL_DATA", path), ("CAPSUL_POSTGRES_FSYNC", "off")), cancel);
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    static async Task<ScratchDatabase> MakeClusterAsync(DataFolder folder, Settings own, CancellationToken cancel)
    {
        await EmbeddedPostgres.DiscardAsync(own, cancel);
        try
        {
            var (server, _) = await EmbeddedPostgres.StartAsync(own, NullLogger.Instance, cancel, ForLoading);
            // The restore of a dump may need any right, so it gets all of them.
            var address = DatabaseAddress.Of(await server.AdministratorAsync(cancel)).For(ClusterSql.Database);
            return new ScratchDatabase(folder, address, own, null);
        }
        catch
        {
            await EmbeddedPostgres.DiscardAsync(own, CancellationToken.None);
            throw;
        }
    }

    static DataFolder TakeFolder(string path)
    {
        try
        {
            return DataFolder.Take(path, "scratch");
        }
        catch (ProblemException error) when (error.Problem.Kind == ProblemKind.Conflict)
        {
            throw new ProblemException(ProblemKind.Conflict,
                "Another backup or restore is running on this machine; try again when it has finished.", null, error);
        }
    }

    static int? LocalMajor(Settings settings)
    {
        try
        {
            var version = Path.GetFileName(Path.GetDirectoryName(EmbeddedPostgres.FindBinaries(settings.PostgresBin)));
            return int.TryParse(version, out var major) ? major : null;
        }
        catch (ProblemException)
        {
            return null;
        }
    }

    /// <summary>Of one beside the real one: that of another data folder has another.</summary>
    public static string NameBeside(Settings settings) =>
        NamePrefix + DataFolder.ShortName(Path.Combine(settings.Data, Environment.MachineName));

    /// <summary>
    /// The name is derived from the data folder, whose lock is held: so one that a killed backup left is recognized,
    /// and dropped first.
    /// </summary>
    static async Task<ScratchDatabase> MakeBesideAsync(
        DataFolder folder, Settings settings, Db db, CancellationToken cancel)
    {
        var name = NameBeside(settings);
        try
        {
            await db.RunMadeAsync(BackupSql.DropStatement, new { name }, cancel);
            await db.RunMadeAsync(BackupSql.CreateStatement, new { name }, cancel);
        }
        catch (PostgresException error) when (error.SqlState == PostgresErrorCodes.InsufficientPrivilege)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                "A backup is verified by a test restore, but there is nowhere to run it: install PostgreSQL's server "
                    + "programs here (package postgresql, at least the server's version), or let the database user "
                    + "create databases (ALTER ROLE … CREATEDB).",
                null, error);
        }
        return new ScratchDatabase(folder, db.Address.For(name), null, db);
    }

    public async ValueTask DisposeAsync()
    {
        using var held = folder;
        if (cluster is not null) await EmbeddedPostgres.DiscardAsync(cluster, CancellationToken.None);
        if (beside is not null)
            await beside.RunMadeAsync(BackupSql.DropStatement,
            new { name = new NpgsqlConnectionStringBuilder(Address.ConnectionString).Database },
            CancellationToken.None);
    }
}

public static class MadeStatements
{
    /// <summary>The same inside a transaction, for statements that allow it.</summary>
    public static async Task RunMadeAsync(
        this NpgsqlTransaction transaction, string statement, object parameters, CancellationToken cancel) =>
        await transaction.Connection!.ExecuteAsync(
            new CommandDefinition((await transaction.FindAsync<string>(statement, parameters, cancel))!,
            transaction: transaction, commandTimeout: 0, cancellationToken: cancel));

    /// <summary>
    /// Lets the server generate a statement (with its own quoting of names) and runs it outside any transaction.
    /// </summary>
    public static async Task RunMadeAsync(this Db db, string statement, object parameters, CancellationToken cancel)
    {
        await using var connection = await db.OpenAsync(cancel);
        var made = await connection.ExecuteScalarAsync<string>(
            new CommandDefinition(statement, parameters, cancellationToken: cancel));
        await connection.ExecuteAsync(new CommandDefinition(made!, commandTimeout: 0, cancellationToken: cancel));
    }
}
