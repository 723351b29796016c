using Capsul.Foundation;
using Capsul.Hub.Database;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Support;

/// <summary>A database of one test's own, cloned from one that was migrated once.</summary>
public sealed class TestDatabase : IAsyncDisposable
{
    static readonly SemaphoreSlim Gate = new(1, 1);
    static string? server;
    static int count;

    TestDatabase(Db db) => Db = db;

    public Db Db { get; }

    public static async Task<TestDatabase> CreateAsync(CancellationToken cancel)
    {
        await Gate.WaitAsync(cancel);
        try
        {
            server ??= await PrepareAsync(cancel);
            var name = $"t{Environment.ProcessId}_{++count}";
            await AdminAsync($"CREATE DATABASE {name} TEMPLATE capsul_template", cancel);
            return new TestDatabase(new Db(new NpgsqlConnectionStringBuilder(server) { Database = name, MaxPoolSize = 10 }.ConnectionString));
        }
        finally
        {
            Gate.Release();
        }
    }

    static async Task<string> PrepareAsync(CancellationToken cancel)
    {
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = Path.Combine(Path.GetTempPath(), "capsul-web-tests"),
            ["CAPSUL_POSTGRES_FSYNC"] = "off",
        });
        var (_, connection) = await EmbeddedPostgres.StartAsync(settings, NullLogger.Instance, cancel);
        server = connection;
        await AdminAsync("DROP DATABASE IF EXISTS capsul_template WITH (FORCE)", cancel);
        await AdminAsync("CREATE DATABASE capsul_template", cancel);
        await using (var db = new Db(new NpgsqlConnectionStringBuilder(connection) { Database = "capsul_template", Pooling = false }.ConnectionString))
            await new Migrator(db, NullLogger.Instance).MigrateAsync(cancel);
        return connection;
    }

    static async Task AdminAsync(string sql, CancellationToken cancel)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(server) { Database = "postgres", Pooling = false }.ConnectionString);
        await connection.OpenAsync(cancel);
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync(cancel);
    }

    public async ValueTask DisposeAsync()
    {
        var name = new NpgsqlConnectionStringBuilder(Db.ConnectionString).Database;
        await Db.DisposeAsync();
        await AdminAsync($"DROP DATABASE IF EXISTS {name} WITH (FORCE)", CancellationToken.None);
    }
}
