using Capsul.Foundation;
using Capsul.Hub.Database;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Cli;

/// <summary>The database for a verb that needs it: the configured one, or the private cluster, which is started for the verb when no Hub runs.</summary>
sealed class CliDatabase : IAsyncDisposable
{
    readonly DataFolder? folder;
    readonly EmbeddedPostgres? postgres;

    CliDatabase(Db db, DataFolder? folder, EmbeddedPostgres? postgres) => (Db, this.folder, this.postgres) = (db, folder, postgres);

    public Db Db { get; }

    public static Task<CliDatabase> OpenAsync(Settings settings, CancellationToken cancel) => OpenAsync(settings, migrate: true, cancel);

    /// <param name="migrate">False leaves the schema as it is, for the verbs of first aid.</param>
    public static async Task<CliDatabase> OpenAsync(Settings settings, bool migrate, CancellationToken cancel)
    {
        if (DatabaseAddress.From(settings) is { } external) return await MigratedAsync(new CliDatabase(new Db(external.ConnectionString), null, null), migrate, cancel);
        DataFolder? folder = null;
        try
        {
            folder = DataFolder.Take(settings.Data, "hub");
        }
        catch (ProblemException error) when (error.Problem.Kind == ProblemKind.Conflict)
        {
            // The Hub runs and keeps its cluster up.
        }
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        return await MigratedAsync(new CliDatabase(new Db(connection), folder, folder is null ? null : server), migrate, cancel);
    }

    static async Task<CliDatabase> MigratedAsync(CliDatabase database, bool migrate, CancellationToken cancel)
    {
        if (migrate) await new Migrator(database.Db, NullLogger.Instance).MigrateAsync(cancel);
        return database;
    }

    public async ValueTask DisposeAsync()
    {
        await Db.DisposeAsync();
        if (postgres is not null) await postgres.StopAsync(CancellationToken.None);
        folder?.Dispose();
    }
}
