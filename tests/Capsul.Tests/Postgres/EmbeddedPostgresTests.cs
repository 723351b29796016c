using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Postgres;

public sealed class EmbeddedPostgresTests
{
    static readonly CancellationToken Cancel = TestContext.Current.CancellationToken;

    static Settings At(string folder) => Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = folder });

    static Task<(EmbeddedPostgres Server, string ConnectionString)> StartAsync(string folder) =>
        EmbeddedPostgres.StartAsync(At(folder), NullLogger.Instance, Cancel);

    static async Task<T> AskAsync<T>(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ConnectionString);
        await connection.OpenAsync(Cancel);
        await using var command = new NpgsqlCommand(sql, connection);
        return (T)(await command.ExecuteScalarAsync(Cancel))!;
    }

    [Fact]
    public async Task Keeps_what_was_committed_when_it_is_killed()
    {
        var folder = TestFolder.Make("pg-kill");
        var (server, connection) = await StartAsync(folder);
        try
        {
            await AskAsync<int>(connection, "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (42); SELECT 1");
            (await AskAsync<string>(connection, "SHOW fsync")).ShouldBe("on");
            var postmaster = int.Parse((await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0]);
            using (var process = Process.GetProcessById(postmaster))
            {
                process.Kill();
                await process.WaitForExitAsync(Cancel);
            }
            (server, connection) = await StartAsync(folder);
            (await AskAsync<int>(connection, "SELECT n FROM kept")).ShouldBe(42);
            Directory.GetFiles(Path.Combine(folder, "postgres/log"), "postgresql-*.log").ShouldNotBeEmpty();
        }
        finally
        {
            await server.StopAsync(Cancel);
        }
    }

    [Fact]
    public async Task Finds_a_cluster_that_still_runs_and_runs_as_somebody_unprivileged()
    {
        var folder = TestFolder.Make("pg-again");
        var (server, connection) = await StartAsync(folder);
        try
        {
            var before = await AskAsync<DateTime>(connection, "SELECT pg_postmaster_start_time()");
            (_, connection) = await StartAsync(folder);
            (await AskAsync<DateTime>(connection, "SELECT pg_postmaster_start_time()")).ShouldBe(before);
            var pid = (await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0];
            (await File.ReadAllLinesAsync($"/proc/{pid}/status", Cancel)).Single(l => l.StartsWith("Uid:", StringComparison.Ordinal)).ShouldNotStartWith("Uid:\t0\t");
        }
        finally
        {
            await server.StopAsync(Cancel);
        }
    }

    [Fact]
    public async Task Several_at_once_make_one_cluster_and_the_last_who_leaves_stops_it()
    {
        var folder = TestFolder.Make("pg-shared");
        var users = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => StartAsync(folder)));
        var pid = (await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0];
        foreach (var (server, connection) in users)
        {
            (await AskAsync<int>(connection, "SELECT 1")).ShouldBe(1);
            (await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0].ShouldBe(pid);
            await server.StopAsync(Cancel);
        }
        File.Exists(Path.Combine(folder, "postgres/data/postmaster.pid")).ShouldBeFalse();
    }

    [Fact]
    public async Task Begins_anew_after_a_start_that_was_killed_while_making_the_cluster()
    {
        var folder = TestFolder.Make("pg-half");
        Directory.CreateDirectory(Path.Combine(folder, "postgres/data.new/base"));
        Directory.CreateDirectory(Path.Combine(folder, "postgres/data"));
        var (server, connection) = await StartAsync(folder);
        (await AskAsync<int>(connection, "SELECT 1")).ShouldBe(1);
        await server.StopAsync(Cancel);
    }

    [Fact]
    public async Task A_cluster_of_another_version_is_left_alone()
    {
        var folder = TestFolder.Make("pg-other");
        Directory.CreateDirectory(Path.Combine(folder, "postgres/data"));
        await File.WriteAllTextAsync(Path.Combine(folder, "postgres/data/PG_VERSION"), "9\n", Cancel);
        (await Should.ThrowAsync<ProblemException>(() => StartAsync(folder))).Problem.Message.ShouldContain("was made by PostgreSQL 9");
    }

    [Fact]
    public void Missing_programs_are_said_in_a_sentence() =>
        Should.Throw<ProblemException>(() => EmbeddedPostgres.FindBinaries("/nowhere")).Problem.Message.ShouldContain("CAPSUL_POSTGRES_BIN names /nowhere");
}
