using Capsul.Foundation;
using Capsul.Postgres;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Cli;

/// <summary>
/// The database for a verb that needs it: the configured one, or the private cluster, which is started for the verb
/// when it is down. This half knows nothing of the Hub: it is also compiled into the native program of <c>capsul
/// sql</c>.
/// </summary>
sealed partial class CliDatabase : IAsyncDisposable
{
    readonly EmbeddedPostgres? postgres;

    CliDatabase(Db db, EmbeddedPostgres? postgres) => (Db, this.postgres) = (db, postgres);

    public Db Db { get; }

    /// <summary>As it is; for the verbs that never upgrade its schema.</summary>
    /// <param name="settings">Where it is.</param>
    /// <param name="cancel">Gives up.</param>
    public static async Task<CliDatabase> ConnectAsync(Settings settings, CancellationToken cancel)
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
