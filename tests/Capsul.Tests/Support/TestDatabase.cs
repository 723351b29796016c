using Capsul.Foundation;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Postgres.Migrations;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Support;

/// <summary>
/// A real database for one test: cloned from a template that has all migrations, in one private cluster for the whole
/// run. The cluster has fsync off and is in memory, in a folder that is deleted after the run.
/// </summary>
public sealed class TestDatabase : IAsyncDisposable
{
    static readonly SemaphoreSlim Gate = new(1, 1);
    static int count;
    static string? cluster;

    TestDatabase(string connectionString) => (ConnectionString, Db) = (connectionString, new Db(connectionString));

    public string ConnectionString { get; }

    public Db Db { get; }

    /// <summary>Fenced transactions; nobody listens to what they announce.</summary>
    public Fence Fence => new(Db, new Listener(Db, TimeProvider.System, NullLogger<Listener>.Instance));

    /// <summary>A fresh database with the newest schema and nothing else.</summary>
    public static Task<TestDatabase> CreateAsync() => CreateAsync("capsul_template", pooled: true);

    /// <summary>
    /// A completely empty database, for tests of migrations; these also change what prepared statements were planned
    /// for, so each has a connection of its own.
    /// </summary>
    public static Task<TestDatabase> CreateEmptyAsync() => CreateAsync("template1", pooled: false);

    /// <summary>A copy of this one, which must have no pool: whoever is still leaving it is waited for.</summary>
    public async Task<TestDatabase> CopyAsync()
    {
        await ExecuteAsync(cluster!,
            $"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{Name}'");
        return await CreateAsync(Name, pooled: false);
    }

    string Name => new NpgsqlConnectionStringBuilder(ConnectionString).Database!;

    static async Task<TestDatabase> CreateAsync(string template, bool pooled)
    {
        await Gate.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            cluster ??= await StartClusterAsync();
            var name = $"test_{++count}";
            await ExecuteAsync(cluster, $"CREATE DATABASE {name} TEMPLATE {template}");
            return new TestDatabase(new NpgsqlConnectionStringBuilder(cluster)
            {
                Database = name,
                Pooling = pooled,
                // Many workers may wait for one lock, and for a connection, on a busy machine.
                Timeout = 300,
                CommandTimeout = 300,
                // Not for long: a test may leave pools of several Hubs behind.
                MaxPoolSize = 20,
                ConnectionIdleLifetime = 5,
                ConnectionPruningInterval = 5,
            }.ConnectionString);
        }
        finally
        {
            Gate.Release();
        }
    }

    static async Task<string> StartClusterAsync()
    {
        var folder = TestFolder.MakeFast("cluster");
        var settings = Settings.Load(new Dictionary<string, string>
        {
            ["CAPSUL_DATA"] = folder,
            ["CAPSUL_POSTGRES_FSYNC"] = "off",
            ["CAPSUL_HUB_USER"] = CapsulProgram.HubUser,
        });
        var (server, _) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, CancellationToken.None);
        // Tests do things to a server that no program does.
        var connection = await server.AdministratorAsync(CancellationToken.None);
        RunEnd.Do(async () =>
        {
            NpgsqlConnection.ClearAllPools();
            await server.StopAsync(CancellationToken.None);
        });
        var maintenance =
            new NpgsqlConnectionStringBuilder(connection) { Database = "postgres", Pooling = false }.ConnectionString;
        await ExecuteAsync(maintenance, "CREATE DATABASE capsul_template");
        await using var template = new Db(new NpgsqlConnectionStringBuilder(connection)
        {
            Database = "capsul_template",
            Pooling = false,
        }.ConnectionString);
        await new Migrator(template, NullLogger.Instance).MigrateAsync(CancellationToken.None);
        return maintenance;
    }

    static async Task ExecuteAsync(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(connectionString);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await Db.DisposeAsync();
        await ExecuteAsync(cluster!, $"DROP DATABASE IF EXISTS {Name} WITH (FORCE)");
    }
}
