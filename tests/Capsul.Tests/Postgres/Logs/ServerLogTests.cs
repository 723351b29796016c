using Capsul.Cli;
using Capsul.Foundation;
using Capsul.Postgres;
using Capsul.Postgres.Logs;
using Capsul.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using Npgsql;

namespace Capsul.Tests.Postgres.Logs;

public sealed class ServerLogTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    const string Log = """
        2026-03-01 10:00:00.100 UTC [1] LOG:  first
        2026-03-01 11:00:00.100 UTC [2] capsul@capsul capsul LOG:  duration: 312.400 ms  execute _p1: -- VmSql.List
        	SELECT id
        	FROM vms
        2026-03-01 12:00:00.000 UTC [2] capsul@capsul psql LOG:  duration: 1000.5 ms  statement: SELECT pg_sleep(1)
        2026-03-01 12:00:01.000 UTC [3] LOG:  checkpoint complete: duration

        """;

    static async Task<string> FolderAsync(params (string Name, string Text)[] files)
    {
        var folder = TestFolder.Make("log");
        foreach (var (name, text) in files) await File.WriteAllTextAsync(Path.Combine(folder, name), text, Cancel);
        return folder;
    }

    static async Task<List<ServerLog.Entry>> ReadAsync(ILogFiles files, DateTime? since)
    {
        var entries = new List<ServerLog.Entry>();
        await foreach (var entry in new ServerLog(files).ReadAsync(since, follow: false, Cancel)) entries.Add(entry);
        return entries;
    }

    [Fact]
    public async Task Entries_span_lines_and_files_and_begin_at_the_given_time()
    {
        var folder = await FolderAsync(("postgresql-2026-03-01.log", Log),
            ("postgresql-2026-03-02.log", "2026-03-02 00:00:00.000 UTC [1] LOG:  next day\n"),
            ("start.log", "not this\n"));
        var all = await ReadAsync(new LocalLogFiles(folder), new DateTime(2026, 3, 1, 0, 0, 0, DateTimeKind.Utc));
        all.Count.ShouldBe(5);
        all[1].Text.ShouldEndWith("\tFROM vms", Case.Sensitive);
        (await ReadAsync(new LocalLogFiles(folder), new DateTime(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc)))
            .Select(e => e.Text[^8..]).ShouldBe(["sleep(1)", "duration", "next day"]);
        (await ReadAsync(new LocalLogFiles(folder), null)).ShouldHaveSingleItem("without a time, the newest file");
        (await ReadAsync(new LocalLogFiles(folder + "/none"), null)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_slow_statement_has_its_name()
    {
        var folder = await FolderAsync(("postgresql-2026-03-01.log", Log));
        (await ReadAsync(new LocalLogFiles(folder), null)).Select(ServerLog.AsSlow)
            .OfType<ServerLog.Slow>().Select(s => (s.Milliseconds, s.Name, s.Statement))
            .ShouldBe([(312.4, "VmSql.List", "SELECT id FROM vms"), (1000.5, "-", "SELECT pg_sleep(1)")]);
    }

    [Fact]
    public async Task Follows_new_lines_even_partial_ones_and_into_a_new_file()
    {
        var folder = await FolderAsync(("postgresql-2026-03-01.log", Log));
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        var seen = new List<string>();
        var following = Task.Run(async () =>
        {
            await foreach (var entry in new ServerLog(new LocalLogFiles(folder))
                .ReadAsync(null, follow: true, enough.Token))
                lock (seen) seen.Add(entry.Text);
        }, Cancel);
        Task SawAsync(string text) => Until.TrueAsync(text, TimeSpan.FromSeconds(20), () =>
        {
            lock (seen) return Task.FromResult(seen.Exists(s => s.EndsWith(text, StringComparison.Ordinal)));
        });
        await SawAsync("checkpoint complete: duration");
        await File.AppendAllTextAsync(Path.Combine(folder, "postgresql-2026-03-01.log"),
            "2026-03-01 13:00:00.000 UTC [1] LOG:  né", Cancel);
        await File.AppendAllTextAsync(Path.Combine(folder, "postgresql-2026-03-01.log"), "wer\n", Cancel);
        await SawAsync("LOG:  néwer");
        await File.WriteAllTextAsync(Path.Combine(folder, "postgresql-2026-03-02.log"),
            "2026-03-02 00:00:00.000 UTC [1] LOG:  next day\n", Cancel);
        await SawAsync("next day");
        await enough.CancelAsync();
        await Should.ThrowAsync<OperationCanceledException>(() => following);
    }

    [Fact]
    public async Task Lines_may_be_very_long_and_invalid_text()
    {
        var folder = TestFolder.Make("log");
        var huge = string.Concat(Enumerable.Repeat("a ", 12 << 20));
        byte[] text =
            [.. System.Text.Encoding.UTF8.GetBytes(
            $"2026-03-01 10:00:00.000 UTC [1] u@d x LOG:  duration: 500.0 ms  statement: SELECT '{huge}'\n2026-03-01 "
            + "11:00:00.000 UTC [1] LOG:  bad "), 0xff, 0xc3, (byte)'\n'];
        await File.WriteAllBytesAsync(Path.Combine(folder, "postgresql-2026-03-01.log"), text, Cancel);
        var entries = await ReadAsync(new LocalLogFiles(folder), new DateTime(2026, 3, 1, 0, 0, 0, DateTimeKind.Utc));
        entries.Count.ShouldBe(2);
        entries[0].Text.Count(c => c == 'a')
            .ShouldBe((12 << 20) + "duration".Count(c => c == 'a') + "statement".Count(c => c == 'a'));
        entries[1].Text.ShouldEndWith("bad \ufffd\ufffd", Case.Sensitive);
        ServerLog.AsSlow(entries[0])!.Statement.ShouldStartWith("SELECT 'a a a");
    }

    [Fact]
    public async Task An_external_servers_log_is_read_if_allowed_with_our_statement_names()
    {
        await using var database = await TestDatabase.CreateAsync();
        var started = DateTime.UnixEpoch
            + TimeSpan.FromSeconds(
            await database.Db.FindAsync<double>("SELECT extract(epoch FROM now())::double precision", null, Cancel));
        await database.Db.ExecuteAsync("-- HostSql.List\nSELECT pg_sleep(0.3)", null, Cancel);
        await using var files = await RemoteLogFiles.OpenAsync(database.Db, Cancel);
        var name = new NpgsqlConnectionStringBuilder(database.ConnectionString).Database;
        await Until.TrueAsync("the slow statement is in the log", TimeSpan.FromSeconds(20), async () =>
            (await ReadAsync(files, started)).Exists(e => e.Text.Contains($"@{name} ", StringComparison.Ordinal)
                && ServerLog.AsSlow(e) is { Name: "HostSql.List", Milliseconds: > 250 }));
    }

    [Fact]
    public async Task If_not_allowed_it_says_what_to_run_and_as_which_user()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "DROP ROLE IF EXISTS nobody_special; CREATE ROLE nobody_special LOGIN PASSWORD 'x'", null, Cancel);
        await using var db =
            new Db(new NpgsqlConnectionStringBuilder(database.ConnectionString)
            {
                Username = "nobody_special",
                Password = "x",
                Pooling = false
            }.ConnectionString);
        var error = await Should.ThrowAsync<ProblemException>(() => RemoteLogFiles.OpenAsync(db, Cancel));
        error.Problem.Kind.ShouldBe(ProblemKind.Forbidden);
        error.Problem.Message.ShouldContain(
            "as root: tail -f /var/log/postgresql/*.log; or ask an administrator to run, as postgres: GRANT "
            + "pg_monitor, pg_read_server_files TO \"nobody_special\"");
        await database.Db.ExecuteAsync(
            error.Problem.Message[error.Problem.Message.IndexOf("GRANT pg_monitor", StringComparison.Ordinal)..],
            null, Cancel);
        await using (var files = await RemoteLogFiles.OpenAsync(db, Cancel))
            (await files.ListAsync(Cancel)).ShouldNotBeEmpty("what it says to run is enough");
        await database.Db.ExecuteAsync(
            "REVOKE EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint) FROM nobody_special; DROP ROLE "
            + "nobody_special", null, Cancel);
    }

    [Theory, InlineData("90s", "2026-03-01T11:58:30Z"), InlineData("2h", "2026-03-01T10:00:00Z"),
        InlineData("1.5d", "2026-02-28T00:00:00Z"), InlineData("2026-02-15T03:00", "2026-02-15T03:00:00Z"),
     InlineData("2026-02-15", "2026-02-15T00:00:00Z")]
    public void Since_is_a_duration_or_a_time(string text, string expected) =>
        DbLogs.ParseSince(text, new FakeTimeProvider(new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero)))
            .ToString("yyyy-MM-ddTHH:mm:ssZ").ShouldBe(expected);

    [Fact]
    public void Nonsense_is_said_in_a_sentence() =>
        Should.Throw<ProblemException>(() =>
        DbLogs.ParseSince("yesterday-ish", TimeProvider.System)).Problem.Message.ShouldContain("is not a valid time");
}
