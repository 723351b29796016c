using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Cli;

/// <summary>
/// The database for a verb that needs it: the configured one, or the private cluster, which is started for the verb
/// when it is down.
/// </summary>
sealed class CliDatabase : IAsyncDisposable
{
    readonly EmbeddedPostgres? postgres;

    CliDatabase(Db db, EmbeddedPostgres? postgres) => (Db, this.postgres) = (db, postgres);

    public Db Db { get; }

    /// <param name="settings">Where it is.</param>
    /// <param name="cancel">Gives up.</param>
    /// <param name="migrate">Bring it up to date first. Not for the verbs that are about its schema.</param>
    public static async Task<CliDatabase> OpenAsync(Settings settings, CancellationToken cancel, bool migrate = true)
    {
        var database = await ConnectAsync(settings, cancel);
        if (!migrate) return database;
        try
        {
            await UpgradeAsync(database.Db, settings, cancel);
            return database;
        }
        catch
        {
            await database.DisposeAsync();
            throw;
        }
    }

    /// <summary>On its own, so that verbs that never upgrade load nothing of the Hub.</summary>
    static async Task UpgradeAsync(Db db, Settings settings, CancellationToken cancel)
    {
        using var logs = LoggerFactory.Create(Logs.At(LogLevel.Information));
        await new SchemaUpgrade(db, settings, patient: false, logs.CreateLogger("Capsul.Cli"))
            .RunAsync(() => Task.CompletedTask, cancel);
    }

    static async Task<CliDatabase> ConnectAsync(Settings settings, CancellationToken cancel)
    {
        if (DatabaseAddress.From(settings) is { } external)
            return new CliDatabase(new Db(external.ConnectionString), null);
        var (server, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        return new CliDatabase(new Db(connection), server);
    }

    public async ValueTask DisposeAsync()
    {
        await Db.DisposeAsync();
        if (postgres is not null) await postgres.StopAsync(CancellationToken.None);
    }
}
