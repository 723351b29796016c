using System.Diagnostics;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Npgsql;

namespace Capsul.Tests.Postgres;

public sealed class EmbeddedPostgresTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Settings At(string folder) => Settings.Load(new Dictionary<string, string> { ["CAPSUL_DATA"] = folder });

    static Task<(EmbeddedPostgres Server, string ConnectionString)> StartAsync(string folder) =>
        EmbeddedPostgres.StartAsync(At(folder), NullLogger.Instance, Cancel);

    static async Task<T> AskAsync<T>(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(
            new NpgsqlConnectionStringBuilder(connectionString) { Pooling = false }.ConnectionString);
        await connection.OpenAsync(Cancel);
        await using var command = new NpgsqlCommand(sql, connection);
        return (T)(await command.ExecuteScalarAsync(Cancel))!;
    }

    [Fact]
    public async Task Keeps_committed_data_when_it_is_killed()
    {
        var folder = TestFolder.Make("pg-kill");
        var (server, connection) = await StartAsync(folder);
        try
        {
            await AskAsync<int>(connection, "CREATE TABLE kept (n integer); INSERT INTO kept VALUES (42); SELECT 1");
            (await AskAsync<string>(connection, "SHOW fsync")).ShouldBe("on");
            var postmaster = int.Parse(
                (await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0]);
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
    public async Task Finds_a_running_cluster_and_runs_as_an_unprivileged_user()
    {
        var folder = TestFolder.Make("pg-again");
        var (server, connection) = await StartAsync(folder);
        try
        {
            var before = await AskAsync<DateTime>(connection, "SELECT pg_postmaster_start_time()");
            (_, connection) = await StartAsync(folder);
            (await AskAsync<DateTime>(connection, "SELECT pg_postmaster_start_time()")).ShouldBe(before);
            var pid = (await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0];
            (await File.ReadAllLinesAsync($"/proc/{pid}/status", Cancel))
                .Single(l => l.StartsWith("Uid:", StringComparison.Ordinal)).ShouldNotStartWith("Uid:\t0\t");
        }
        finally
        {
            await server.StopAsync(Cancel);
        }
    }

    [Fact]
    public async Task Concurrent_starts_create_one_cluster_and_the_last_user_stops_it()
    {
        var folder = TestFolder.Make("pg-shared");
        var users = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => StartAsync(folder)));
        var pid = (await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0];
        foreach (var (server, connection) in users)
        {
            (await AskAsync<int>(connection, "SELECT 1")).ShouldBe(1);
            (await File.ReadAllLinesAsync(Path.Combine(folder, "postgres/data/postmaster.pid"), Cancel))[0]
                .ShouldBe(pid);
            await server.StopAsync(Cancel);
        }
        File.Exists(Path.Combine(folder, "postgres/data/postmaster.pid")).ShouldBeFalse();
    }

    [Fact]
    public async Task Starts_over_after_a_start_that_was_killed_while_creating_the_cluster()
    {
        var folder = TestFolder.Make("pg-half");
        Directory.CreateDirectory(Path.Combine(folder, "postgres/data.new/base"));
        Directory.CreateDirectory(Path.Combine(folder, "postgres/data"));
        var (server, connection) = await StartAsync(folder);
        (await AskAsync<int>(connection, "SELECT 1")).ShouldBe(1);
        await server.StopAsync(Cancel);
    }

    [Fact]
    public async Task Its_everyday_role_has_no_server_privileges_and_its_log_contains_no_values()
    {
        var folder = TestFolder.Make("pg-role");
        var (server, connection) = await StartAsync(folder);
        try
        {
            (await AskAsync<bool>(connection, IsSuperuser)).ShouldBeFalse();
            (await AskAsync<bool>(await server.AdministratorAsync(Cancel), IsSuperuser)).ShouldBeTrue();
            (await Should.ThrowAsync<PostgresException>(() =>
                AskAsync<int>(connection, "COPY (SELECT 1) TO PROGRAM 'cat'")))
                .SqlState.ShouldBe(PostgresErrorCodes.InsufficientPrivilege);
            (await AskAsync<string>(connection, DatabaseOwner)).ShouldBe("capsul");
            (await AskAsync<bool>(connection, "SELECT rolcreatedb FROM pg_roles WHERE rolname = current_user"))
                .ShouldBeTrue("restores create databases");
            (await AskAsync<string>(connection, "SHOW log_parameter_max_length")).ShouldBe("0");
            (await AskAsync<string>(connection, "SHOW log_parameter_max_length_on_error")).ShouldBe("0");
        }
        finally
        {
            await server.StopAsync(Cancel);
        }
    }

    const string IsSuperuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    const string DatabaseOwner =
        "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()";

    [Fact]
    public async Task A_cluster_of_an_older_program_is_taken_over_with_all_its_data()
    {
        var folder = TestFolder.Make("pg-older");
        await MakeOlderAsync(folder);
        for (var start = 0; start < 2; start++)
        {
            var (server, connection) = await StartAsync(folder);
            try
            {
                (await AskAsync<bool>(connection, IsSuperuser)).ShouldBeFalse();
                (await AskAsync<string>(connection, "UPDATE kept SET n = n + 1 RETURNING n || f()"))
                    .ShouldBe($"{43 + start}seven");
                (await AskAsync<int>(connection, $"""
                    ALTER TABLE kept ADD COLUMN c{start} mood; ALTER TYPE mood ADD VALUE 'm{start}';
                    CREATE OR REPLACE VIEW v AS SELECT 1 AS one;
                    ALTER TABLE s.t ADD COLUMN c{start} integer; ALTER TABLE part1 ADD CHECK (a <> {start}); SELECT 1
                    """)).ShouldBe(1);
                (await AskAsync<string>(connection, DatabaseOwner)).ShouldBe("capsul");
            }
            finally
            {
                await server.StopAsync(Cancel);
            }
        }
    }

    /// <summary>A cluster as older programs created it: initdb with the everyday role as the bootstrap role.</summary>
    static async Task MakeOlderAsync(string folder)
    {
        var place = Path.Combine(folder, "postgres");
        Directory.CreateDirectory(place);
        await File.WriteAllTextAsync(Path.Combine(place, "password"), "0123456789abcdef", Cancel);
        await new Command("chown", "-R", "postgres:", place).RunAsync(Cancel);
        var (bin, data) = (EmbeddedPostgres.FindBinaries(null), Path.Combine(place, "data"));
        await AsServer(place, Path.Combine(bin, "initdb"), "-D", data,
            "-U", "capsul", "--pwfile", Path.Combine(place, "password"),
            "--auth=scram-sha-256", "--no-sync").RunAsync(Cancel);
        var single = Path.Combine(bin, "postgres");
        await (AsServer(place, single, "--single", "-D", data, "postgres") with { Input = "CREATE DATABASE capsul;\n" })
            .RunAsync(Cancel);
        await (AsServer(place, single, "--single", "-D", data, "capsul") with
        {
            Input = """
                CREATE TABLE kept (id serial PRIMARY KEY, n integer)
                INSERT INTO kept (n) VALUES (42)
                CREATE TYPE mood AS ENUM ('a')
                CREATE VIEW v AS SELECT 1 AS one
                CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'seven' $$
                CREATE EXTENSION btree_gist
                SELECT lo_create(7)
                CREATE SCHEMA s CREATE TABLE t (a integer GENERATED ALWAYS AS IDENTITY)
                CREATE TABLE parts (a integer PRIMARY KEY) PARTITION BY RANGE (a)
                CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (9)

                """,
        }).RunAsync(Cancel);
    }

    static Command AsServer(string place, string program, params string[] arguments) =>
        new("setpriv", ["--reuid", "postgres", "--regid", "postgres",
            "--clear-groups", "--", program, .. arguments])
        { WorkingDirectory = place };

    [Fact]
    public async Task A_cluster_of_another_version_is_not_touched()
    {
        var folder = TestFolder.Make("pg-other");
        Directory.CreateDirectory(Path.Combine(folder, "postgres/data"));
        await File.WriteAllTextAsync(Path.Combine(folder, "postgres/data/PG_VERSION"), "9\n", Cancel);
        (await Should.ThrowAsync<ProblemException>(() => StartAsync(folder))).Problem.Message.ShouldContain(
            "was created by PostgreSQL 9");
    }

    [Fact]
    public void Missing_programs_are_an_error_message() =>
        Should.Throw<ProblemException>(() => EmbeddedPostgres.FindBinaries("/nowhere")).Problem.Message.ShouldContain(
            "CAPSUL_POSTGRES_BIN is /nowhere");
}
