using System.Text;
using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.Cli;

/// <summary>
/// What can only be tested with the real program: streams, exit codes, signals, the terminal, the private cluster.
/// </summary>
public sealed class SqlVerbTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    readonly Dictionary<string, string> environment =
        new(StringComparer.Ordinal) { ["CAPSUL_DATA"] = TestFolder.Make("sql") };

    async Task<TestDatabase> StartAsync()
    {
        var database = await TestDatabase.CreateAsync();
        environment["CAPSUL_DATABASE"] = database.ConnectionString;
        return database;
    }

    Task<CommandResult> RunAsync(params string[] arguments) =>
        CapsulProgram.RunAsync(environment, Cancel, ["sql", .. arguments]);

    /// <summary>Runs a shell command, for pipes and redirection; $CAPSUL is the program.</summary>
    Task<CommandResult> ShellAsync(string line, string? input = null) => new Command("bash", "-c", line)
    {
        Environment = new Dictionary<string, string?>(
            environment.ToDictionary(e => e.Key, e => (string?)e.Value), StringComparer.Ordinal)
        {
            ["CAPSUL"] = CapsulProgram.SqlFile,
        },
        Input = input,
    }.TryRunAsync(Cancel);

    /// <summary>Runs on a separate terminal (script, of util-linux) with typed input.</summary>
    Task<CommandResult> TerminalAsync(string line, string typed) =>
        ShellAsync($"script -qec '{line}' /dev/null", typed);

    static async Task NothingRunsAsync(TestDatabase database) =>
        await Until.TrueAsync("no statement of the program is running on the server", Limit, async () =>
            await database.Db.FindAsync<int>("SELECT count(*)::integer FROM pg_stat_activity "
                + "WHERE application_name = 'capsul sql' AND datname = current_database()", null, Cancel) == 0);

    [Fact]
    public async Task Parts_run_in_the_order_of_the_command_line()
    {
        await using var database = await StartAsync();
        var file = Path.Combine(environment["CAPSUL_DATA"], "b.sql");
        await File.WriteAllTextAsync(file, "\uFEFFSELECT 'file'", Cancel);
        (await RunAsync("-c", "SELECT 'first'", "-f", file, "--command", "SELECT 'third'; SELECT 'fourth'"))
            .Output.ShouldBe("first\nfile\nthird\nfourth\n");
        (await ShellAsync("$CAPSUL sql -f - --header", "SELECT 1 AS one;\nSELECT 2 AS two"))
            .Output.ShouldBe("one\n1\ntwo\n2\n");
        (await ShellAsync("$CAPSUL sql", "SELECT 3")).Output.ShouldBe("3\n");
        (await RunAsync("-c", "@ -5")).ExitCode.ShouldBe(3);
    }

    [Fact]
    public async Task A_failure_exits_with_3_and_is_printed_to_standard_error()
    {
        await using var database = await StartAsync();
        var result = await RunAsync("-c", "SELECT 1; SELECT 2;\nSELECT nope FROM vms");
        result.ExitCode.ShouldBe(3);
        result.Output.ShouldBe("1\n2\n");
        result.Error.ShouldBe("capsul: statement 3, line 2: column \"nope\" does not exist\nSELECT nope FROM vms\n"
            + "       ^\nHINT:  Perhaps you meant to reference the column \"vms.name\".\nNothing was changed.\n");
    }

    [Fact]
    public async Task Notices_go_to_standard_error()
    {
        await using var database = await StartAsync();
        var result = await RunAsync("-c", "DO $$ BEGIN RAISE NOTICE 'half way'; RAISE WARNING 'careful' USING HINT = "
            + "'slower', DETAIL = 'fast'; END $$");
        (result.Output, result.Error).ShouldBe(
            ("DO\n", "NOTICE:  half way\nWARNING:  careful\nDETAIL:  fast\nHINT:  slower\n"));
    }

    [Theory]
    [InlineData(64, "is none of them", "sql", "--format", "xml", "-c", "SELECT 1")]
    [InlineData(64, "--timeout takes seconds", "sql", "--timeout", "-1", "-c", "SELECT 1")]
    [InlineData(64, "works in the interactive mode", "sql", "-c", "SELECT 1; \n\\d vms")]
    [InlineData(64, "given twice", "sql", "-f", "-", "-f", "-")]
    [InlineData(64, "can be read only once", "sql", "-f", "-", "-c", "COPY t FROM STDIN")]
    [InlineData(66, "no.sql cannot be read", "sql", "-f", "/nowhere/no.sql")]
    [InlineData(64, "not UTF-8", "sql", "-f", "/bin/bash")]
    [InlineData(64, "UPDATE without WHERE changes every row of payments", "sql", "-c", "UPDATE payments SET note = ''")]
    public async Task Unusable_input_is_refused_in_one_sentence(
        int exitCode, string says, params string[] arguments)
    {
        await using var database = await StartAsync();
        var result = await CapsulProgram.RunAsync(environment, Cancel, arguments);
        result.Error.ShouldContain(says, customMessage: result.Output);
        result.Error.Count(c => c == '\n').ShouldBe(1);
        result.Error.ShouldStartWith("capsul: ");
        result.ExitCode.ShouldBe(exitCode);
    }

    [Fact]
    public async Task A_closed_pipe_ends_it_silently_and_on_the_server_too()
    {
        await using var database = await StartAsync();
        var result = await ShellAsync("$CAPSUL sql -c 'CREATE TABLE gone (a int); "
            + "SELECT generate_series(1, 1000000000)' | head -2; echo ${PIPESTATUS[0]}");
        result.Output.ShouldBe("CREATE TABLE\n1\n141\n");
        result.Error.ShouldBeEmpty();
        await NothingRunsAsync(database);
        (await database.Db.FindAsync<bool>("SELECT to_regclass('gone') IS NULL", null, Cancel)).ShouldBeTrue();
        (await ShellAsync(
            "$CAPSUL sql -c 'COPY (SELECT generate_series(1, 1000000000)) TO STDOUT' | head -1; echo ${PIPESTATUS[0]}"))
            .Output.ShouldBe("1\n141\n");
        await NothingRunsAsync(database);
    }

    [Theory]
    [InlineData("INT", 130, "SELECT pg_sleep(600)")]
    [InlineData("TERM", 143, "SELECT pg_sleep(600)")]
    [InlineData("INT", 130, "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b")]
    [InlineData("TERM", 143, "SELECT generate_series(1, 100000000000)")]
    public async Task A_signal_cancels_on_the_server_and_rolls_back(string signal, int exitCode, string sql)
    {
        await using var database = await StartAsync();
        await using var program = CapsulProgram.Start(environment, "sql", "-c", $"CREATE TABLE gone (a int); {sql}");
        await Until.TrueAsync("the statement runs", Limit, async () =>
            await database.Db.FindAsync<int>("SELECT count(*)::integer FROM pg_stat_activity "
                + "WHERE application_name = 'capsul sql' AND state = 'active' AND query LIKE @sql",
                new { sql = sql + "%" }, Cancel) == 1);
        await program.SignalAsync(signal);
        (await program.EndAsync()).ShouldBe(exitCode);
        program.Said.ShouldNotContain(" at ");
        await NothingRunsAsync(database);
        (await database.Db.FindAsync<bool>("SELECT to_regclass('gone') IS NULL", null, Cancel)).ShouldBeTrue();
    }

    [Fact]
    public async Task Output_is_appended_to_a_file_that_others_also_write_to()
    {
        await using var database = await StartAsync();
        var file = Path.Combine(environment["CAPSUL_DATA"], "out");
        await ShellAsync($"(echo before; $CAPSUL sql -c 'SELECT 1'; $CAPSUL sql -c 'SELECT 2'; echo after) > {file}");
        (await File.ReadAllTextAsync(file, Cancel)).ShouldBe("before\n1\n2\nafter\n");
    }

    [Fact]
    public async Task Without_a_where_a_person_is_asked_and_a_script_needs_yes()
    {
        await using var database = await StartAsync();
        await database.Db.ExecuteAsync("CREATE TABLE t AS SELECT generate_series(1, 1234) AS a", null, Cancel);
        Task<int> CountAsync() =>
            database.Db.FindAsync<int>("SELECT count(*)::integer FROM t WHERE a = 0", null, Cancel);

        (await RunAsync("-c", "UPDATE t SET a = 0")).ExitCode.ShouldBe(64);
        var no = await TerminalAsync("$CAPSUL sql -c \"UPDATE t SET a = 0\"", "n\n");
        no.Output.ShouldContain("UPDATE without WHERE changes all 1,234 rows of t. Continue? [y/N]");
        no.ExitCode.ShouldBe(1);
        (await CountAsync()).ShouldBe(0);
        (await TerminalAsync("$CAPSUL sql -c \"UPDATE t SET a = 0\"", "y\n"))
            .Output.ShouldContain("1234 rows affected.");
        (await CountAsync()).ShouldBe(1234);
        (await RunAsync("--yes", "-c", "DELETE FROM t")).Output.ShouldBe("1234 rows affected.\n");
    }

    [Fact]
    public async Task Without_arguments_it_is_psql_on_the_right_database()
    {
        await using var database = await StartAsync();
        var name = await database.Db.FindAsync<string>("SELECT current_database()::text", null, Cancel);
        var said = await TerminalAsync("$CAPSUL sql --read-only --timeout 7", "\\pset pager off\nSELECT "
            + "current_database(), current_setting($$default_transaction_read_only$$), "
            + "current_setting($$statement_timeout$$);\n\\q\n");
        said.Output.ShouldContain($"{name}=");
        said.Output.ShouldMatch($@"{name} +\| on +\| 7s");
        said.ExitCode.ShouldBe(0);
    }

    [Fact]
    public async Task Copy_reads_standard_input_and_writes_standard_output()
    {
        await using var database = await StartAsync();
        await database.Db.ExecuteAsync("CREATE TABLE t (a int, b text)", null, Cancel);
        (await ShellAsync("$CAPSUL sql -c 'COPY t FROM STDIN (FORMAT csv, HEADER) WHERE a > 1'",
            "a,b\n1,x\n2,\"two\nlines\"\n3,z\n")).Output.ShouldBe("COPY 2\n");
        (await RunAsync("-c", "COPY t TO STDOUT")).Output.ShouldBe("2\ttwo\\nlines\n3\tz\n");
        (await ShellAsync("$CAPSUL sql -c 'COPY t TO STDOUT (FORMAT binary)' | $CAPSUL sql -c 'COPY t "
            + "FROM STDIN (FORMAT binary)'; $CAPSUL sql -c 'SELECT count(*) FROM t'")).Output.ShouldBe("COPY 2\n4\n");
        var wrong = await ShellAsync("$CAPSUL sql -c 'COPY t FROM STDIN'", "x\ty\n");
        (wrong.ExitCode, wrong.Output).ShouldBe((3, ""));
        wrong.Error.ShouldContain("invalid input syntax for type integer");
    }

    [Fact]
    public async Task A_dump_by_pg_dump_can_be_run()
    {
        await using var database = await StartAsync();
        await using var empty = await TestDatabase.CreateEmptyAsync();
        await database.Db.ExecuteAsync(
            "INSERT INTO accounts (email) VALUES (E'tab\\there@example.org'), ('b;c@example.org')", null, Cancel);
        var dump = Path.Combine(environment["CAPSUL_DATA"], "dump.sql");
        await using (var file = File.Create(dump))
        {
            await file.WriteAsync(Encoding.ASCII.GetBytes("\\restrict 0123abc\n"), Cancel);
            await (Capsul.Postgres.PostgresPrograms.Make(null, database.Db.Address, "pg_dump",
                "--no-owner") with
            { ReadOutput = (from, stop) => from.CopyToAsync(file, stop) }).RunAsync(Cancel);
        }
        environment["CAPSUL_DATABASE"] = empty.ConnectionString;
        var result = await RunAsync("-f", dump);
        result.Error.ShouldBeEmpty();
        result.ExitCode.ShouldBe(0);
        (await RunAsync("-c", "SELECT email FROM accounts ORDER BY email"))
            .Output.ShouldBe("b;c@example.org\ntab\there@example.org\n");
        (await RunAsync("-c", "SELECT count(*) FROM operator_statements")).Output.ShouldBe("0\n");
    }

    [Fact]
    public async Task The_private_cluster_is_started_for_it_and_stopped_after_it()
    {
        environment["CAPSUL_POSTGRES_FSYNC"] = "off";
        (await RunAsync("-c", "SELECT 1")).Output.ShouldBe("1\n");
        var empty = await RunAsync("-c", "SELECT * FROM vms");
        empty.ExitCode.ShouldBe(3);
        empty.Error.ShouldContain("This database has no Capsul tables yet");
        File.Exists(Path.Combine(environment["CAPSUL_DATA"], "postgres", "data", "postmaster.pid")).ShouldBeFalse();
    }

    [Fact]
    public async Task A_database_newer_than_the_program_can_be_queried()
    {
        await using var database = await StartAsync();
        await database.Db.ExecuteAsync("UPDATE schemaversion SET version = version + 1", null, Cancel);
        (await RunAsync("-c", "SELECT count(*) FROM payments")).Output.ShouldBe("0\n");
    }
}
