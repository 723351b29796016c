using Capsul.Foundation;
using Npgsql;

namespace Capsul.Tests.Support;

/// <summary>A real PgBouncer in front of the test cluster, on loopback, run by the cluster's own user.</summary>
public sealed class Bouncer : IAsyncDisposable
{
    readonly CancellationTokenSource stop;
    readonly Task running;

    Bouncer(string connectionString, CancellationTokenSource stop, Task running) =>
        (ConnectionString, this.stop, this.running) = (connectionString, stop, running);

    public string ConnectionString { get; }

    /// <param name="mode">pool_mode: session, transaction or statement.</param>
    public static async Task<Bouncer> StartAsync(TestDatabase database, string mode)
    {
        var cancel = TestContext.Current.CancellationToken;
        var parts = new NpgsqlConnectionStringBuilder(database.ConnectionString);
        var folder = TestFolder.Make("bouncer");
        var port = Ports.TakeFree();
        var file = Path.Combine(folder, "pgbouncer.ini");
        await File.WriteAllTextAsync(file, $"""
            [databases]
            {parts.Database} = host={parts.Host} dbname={parts.Database} user={parts.Username} password={parts.Password}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = any
            pool_mode = {mode}
            ignore_startup_parameters = extra_float_digits
            """, cancel);
        var stop = new CancellationTokenSource();
        var running = new Command("setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups",
            "--", "/usr/sbin/pgbouncer", file)
        { Timeout = TimeSpan.FromMinutes(5) }.TryRunAsync(stop.Token);
        var there = new NpgsqlConnectionStringBuilder
        {
            Host = "127.0.0.1",
            Port = port,
            Database = parts.Database,
            Username = "anybody",
            Password = "x",
        }.ConnectionString;
        await Until.TrueAsync("PgBouncer responds", TimeSpan.FromSeconds(20), async () =>
        {
            if (running.IsCompleted) throw new InvalidOperationException((await running).Error);
            return await Until.AnswersAsync(port);
        });
        return new Bouncer(there, stop, running);
    }

    public async ValueTask DisposeAsync()
    {
        await stop.CancelAsync();
        await running.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        stop.Dispose();
    }
}
