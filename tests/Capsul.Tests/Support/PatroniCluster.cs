using System.Text.Json;
using Capsul.Foundation;
using Npgsql;

namespace Capsul.Tests.Support;

/// <summary>
/// A real cluster on loopback: one etcd, and two PostgreSQL servers managed by two Patronis, a leader and a synchronous
/// standby. From Debian's packages, in a folder that is deleted after the run.
/// </summary>
public sealed class PatroniCluster : IAsyncDisposable
{
    const string Password = "of-the-test";
    static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(2);

    readonly string folder = TestFolder.Make("patroni");
    readonly CancellationTokenSource stop = new();
    readonly List<Task> programs = [];
    readonly int etcd = Ports.TakeFree();
    readonly Node[] nodes =
        [.. Enumerable.Range(1, 2).Select(n => new Node($"node{n}", Ports.TakeFree(), Ports.TakeFree()))];

    /// <summary>One server of the cluster.</summary>
    public sealed record Node(string Name, int Port, int RestPort);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Both hosts; clients find the one that accepts writes.</summary>
    public string ConnectionString =>
        $"Host={string.Join(',', nodes.Select(n => $"127.0.0.1:{n.Port}"))};Database=postgres;Username=postgres;"
            + $"Password={Password};Timeout=3;Target Session Attributes=primary";

    /// <summary>Returns when there is a leader and a synchronous standby.</summary>
    public static async Task<PatroniCluster> StartAsync()
    {
        var cluster = new PatroniCluster();
        try
        {
            cluster.StartEtcd();
            await Until.TrueAsync("etcd responds", StartLimit, () => Until.AnswersAsync(cluster.etcd));
            foreach (var node in cluster.nodes) await cluster.StartNodeAsync(node);
            await Until.TrueAsync("a leader with a synchronous standby", StartLimit, async () =>
            {
                foreach (var program in cluster.programs.Where(p => p.IsCompleted)) await program;
                return await cluster.HasSyncStandbyAsync();
            });
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>The node that accepts writes now, or null while there is none.</summary>
    public async Task<Node?> LeaderAsync()
    {
        foreach (var node in nodes)
        {
            if (await AskAsync(node, "/primary") is not null) return node;
        }
        return null;
    }

    /// <summary>Kills Patroni and its PostgreSQL, like a power failure.</summary>
    public async Task KillAsync(Node node)
    {
        var postmaster =
            (await File.ReadAllLinesAsync(Path.Combine(folder, node.Name, "postmaster.pid"), Cancel))[0].Trim();
        var patroni = Directory.EnumerateDirectories("/proc").Select(Path.GetFileName).First(pid =>
            int.TryParse(pid, out _) && ReadCommandLine(pid).Contains("/usr/bin/patroni", StringComparison.Ordinal)
                && ReadCommandLine(pid).Contains(ConfigFile(node), StringComparison.Ordinal));
        await new Command("kill", "-9", patroni!, postmaster).RunAsync(Cancel);
    }

    static string ReadCommandLine(string? pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Replace('\0', ' ');
        }
        catch (IOException)
        {
            return ""; // It exited meanwhile.
        }
    }

    async Task<bool> HasSyncStandbyAsync()
    {
        foreach (var node in nodes)
        {
            if (await AskAsync(node, "/synchronous") is not null) return await LeaderAsync() is not null;
        }
        return false;
    }

    /// <summary>Patroni's REST API: status 200 says yes (patroni.readthedocs.io, "Health check endpoints").</summary>
    static async Task<JsonDocument?> AskAsync(Node node, string path)
    {
        using var client = new HttpClient { Timeout = TimeSpan.FromSeconds(2) };
        try
        {
            using var answer = await client.GetAsync(new Uri($"http://127.0.0.1:{node.RestPort}{path}"), Cancel);
            return answer.IsSuccessStatusCode
                ? JsonDocument.Parse(await answer.Content.ReadAsStringAsync(Cancel))
                : null;
        }
        catch (Exception error)
            when (error is HttpRequestException or OperationCanceledException && !Cancel.IsCancellationRequested)
        {
            return null;
        }
    }

    void StartEtcd()
    {
        var (client, peer) = ($"http://127.0.0.1:{etcd}", $"http://127.0.0.1:{Ports.TakeFree()}");
        Run(new Command("etcd", "--name", "e", "--data-dir", Path.Combine(folder, "etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", $"e={peer}", "--logger", "zap", "--log-level", "error"));
    }

    string ConfigFile(Node node) => Path.Combine(folder, $"{node.Name}.yml");

    async Task StartNodeAsync(Node node)
    {
        await File.WriteAllTextAsync(ConfigFile(node), $$"""
            scope: capsul
            name: {{node.Name}}
            restapi: {listen: "127.0.0.1:{{node.RestPort}}", connect_address: "127.0.0.1:{{node.RestPort}}"}
            etcd3: {hosts: "127.0.0.1:{{etcd}}"}
            bootstrap:
              dcs:
                ttl: 20
                loop_wait: 1
                retry_timeout: 3
                synchronous_mode: true
                postgresql: {use_pg_rewind: true}
              initdb: [{encoding: UTF8}, data-checksums]
              pg_hba: ["host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"]
            postgresql:
              listen: "127.0.0.1:{{node.Port}}"
              connect_address: "127.0.0.1:{{node.Port}}"
              data_dir: "{{Path.Combine(folder, node.Name)}}"
              bin_dir: "{{Capsul.Postgres.PostgresPrograms.Folder(null, "initdb", "postgres")}}"
              pgpass: "{{Path.Combine(folder, node.Name + ".pgpass")}}"
              authentication:
                superuser: {username: postgres, password: {{Password}}}
                replication: {username: replicator, password: {{Password}}}
                rewind: {username: rewinder, password: {{Password}}}
              parameters: {unix_socket_directories: "{{folder}}", password_encryption: scram-sha-256}
            """, Cancel);
        await new Command("chown", "-R", "postgres:", folder).RunAsync(Cancel);
        Run(new Command("setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups",
            "--", "/usr/bin/patroni", ConfigFile(node))
        { WorkingDirectory = folder });
    }

    /// <summary>
    /// They run until the cluster is disposed; whoever awaits one of them reports if it exits before.
    /// </summary>
    void Run(Command command) =>
        programs.Add((command with { Timeout = TimeSpan.FromMinutes(10) }).TryRunAsync(stop.Token));

    public async ValueTask DisposeAsync()
    {
        NpgsqlConnection.ClearAllPools();
        await stop.CancelAsync();
        await Task.WhenAll(programs).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        // Their servers are separate daemons.
        foreach (var node in nodes)
        {
            var pid = Path.Combine(folder, node.Name, "postmaster.pid");
            if (File.Exists(pid))
                await new Command("kill", "-9", (await File.ReadAllLinesAsync(pid, CancellationToken.None))[0].Trim())
                    .TryRunAsync(CancellationToken.None);
        }
        stop.Dispose();
    }
}
