using Capsul.Foundation;
using Capsul.Postgres.Statements;
using Capsul.Tests.Support;

namespace Capsul.Tests.Postgres.Statements;

/// <summary>Atomic calls; the script's own transactions; error positions.</summary>
public sealed class TransactionTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<TestDatabase> WithTableAsync()
    {
        var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED CHECK (a > 0))",
            null, Cancel);
        return database;
    }

    static Task<int> RowsAsync(TestDatabase database) =>
        database.Db.FindAsync<int>("SELECT count(*)::integer FROM t", null, Cancel);

    [Fact]
    public async Task One_failing_statement_rolls_back_the_whole_call()
    {
        await using var database = await WithTableAsync();
        (await TypedSql.RefusalAsync(database, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
            "INSERT INTO t VALUES (3);\n INSERT INTO t VALUES (0)"))
            .ShouldStartWith(
                "part 2, statement 2, line 2: new row for relation \"t\" violates check constraint "
                + "\"t_a_check\"\nDETAIL:  Failing row contains (0).");
        (await RowsAsync(database)).ShouldBe(0);
    }

    [Fact]
    public async Task A_deferred_constraint_rolls_it_back_too()
    {
        await using var database = await WithTableAsync();
        var says = await TypedSql.RefusalAsync(database, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (1)");
        says.ShouldStartWith("At the end of the transaction:");
        says.ShouldEndWith("Nothing was changed.");
        (await RowsAsync(database)).ShouldBe(0);
    }

    [Fact]
    public async Task Transactions_in_the_script_are_honored_without_output()
    {
        await using var database = await WithTableAsync();
        var all = await TypedSql.RunAsync(database,
            "INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2); ROLLBACK; INSERT INTO t VALUES (3); BEGIN; "
            + "INSERT INTO t VALUES (4); SAVEPOINT s; INSERT INTO t VALUES (5); ROLLBACK TO s; COMMIT; SELECT a FROM "
            + "t ORDER BY a");
        all.Output.ShouldEndWith("COMMIT\n1\n3\n4\n");
        all.Notes.ShouldBeEmpty();
    }

    [Fact]
    public async Task What_was_committed_before_a_failure_is_kept_and_that_is_reported()
    {
        await using var database = await WithTableAsync();
        (await TypedSql.RefusalAsync(database,
            "BEGIN; INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); SELECT nope"))
            .ShouldEndWith("What was committed before is kept.");
        (await RowsAsync(database)).ShouldBe(1);
    }

    [Fact]
    public async Task An_open_transaction_at_the_end_is_rolled_back_and_that_is_reported()
    {
        await using var database = await WithTableAsync();
        (await TypedSql.RefusalAsync(database, "BEGIN; INSERT INTO t VALUES (1)")).ShouldContain("does not commit it");
        (await RowsAsync(database)).ShouldBe(0);
    }

    [Theory]
    [InlineData("VACUUM t", "VACUUM")]
    [InlineData("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX")]
    [InlineData("REINDEX (VERBOSE) TABLE CONCURRENTLY t", "REINDEX")]
    [InlineData("ALTER SYSTEM RESET work_mem", "ALTER SYSTEM")]
    [InlineData("DISCARD ALL", "DISCARD ALL")]
    [InlineData("CLUSTER", "CLUSTER")]
    public async Task A_non_transactional_statement_runs_alone_or_beside_a_transaction_and_is_refused_among_others(
        string statement, string tag)
    {
        await using var database = await WithTableAsync();
        (await TypedSql.RunAsync(database, statement)).Output.ShouldBe(tag + "\n");
        var refused = await Should.ThrowAsync<ProblemException>(() =>
            TypedSql.RunAsync(database, $"INSERT INTO t VALUES (1); {statement}"));
        refused.Problem.Kind.ShouldBe(ProblemKind.Invalid);
        refused.Message.ShouldContain($"statement 2, line 1: {tag} cannot be part of a transaction");
        (await RowsAsync(database)).ShouldBe(0);
        if (tag != "CREATE INDEX")
            (await TypedSql.RunAsync(database,
            $"BEGIN; INSERT INTO t VALUES (1); COMMIT; {statement}")).Output.ShouldEndWith($"COMMIT\n{tag}\n");
    }

    [Theory]
    [InlineData("SELECT 1;\n\nSELECT a,\n\tnope FROM t",
        "statement 2, line 4: column \"nope\" does not exist\n\tnope FROM t\n\t^")]
    [InlineData("SELECT '🐎é', nope",
        "statement 1, line 1: column \"nope\" does not exist\nSELECT '🐎é', nope\n              ^")]
    [InlineData("SELEC 1", "statement 1, line 1: syntax error at or near \"SELEC\"\nSELEC 1\n^")]
    [InlineData("SELECT 1 +", "statement 1, line 1: syntax error at end of input\nSELECT 1 +\n          ^")]
    [InlineData("SELECT (1;\nSELECT 2", "statement 1, line 1: syntax error at or near \";\"\nSELECT (1;\n         ^")]
    [InlineData("SELECT 'open",
        "statement 1, line 1: unterminated quoted string at or near \"'open\"\nSELECT 'open\n       ^")]
    [InlineData("SELECT 1;\n-- note\nSELECT 1/0", "statement 2, line 3: division by zero\nNothing")]
    [InlineData("DO $$ BEGIN PERFORM nope; END $$",
        "statement 1, line 1: column \"nope\" does not exist\nQUERY:  SELECT nope\nCONTEXT:  PL/pgSQL function "
        + "inline_code_block line 1 at PERFORM")]
    public async Task A_failing_statement_is_shown_with_line_and_position(string sql, string says)
    {
        await using var database = await WithTableAsync();
        (await TypedSql.RefusalAsync(database, sql)).ShouldStartWith(says);
    }

    [Fact]
    public async Task Of_a_long_line_the_part_around_the_position_is_shown()
    {
        await using var database = await WithTableAsync();
        var lines = (await TypedSql.RefusalAsync(database,
            $"SELECT {string.Join(", ", Enumerable.Range(1000, 500))}, nope, "
                + $"{string.Join(", ", Enumerable.Range(1000, 500))}")).Split('\n');
        lines[1].Length.ShouldBeLessThan(130);
        lines[1][lines[2].IndexOf('^')..].ShouldStartWith("nope");
    }

    [Theory]
    [InlineData("INSERT INTO t VALUES (1)")]
    [InlineData("SET TRANSACTION READ WRITE; INSERT INTO t VALUES (1)")]
    [InlineData("BEGIN READ WRITE; INSERT INTO t VALUES (1); COMMIT")]
    [InlineData("SET default_transaction_read_only = off; COMMIT; INSERT INTO t VALUES (1)")]
    [InlineData("BEGIN; COMMIT AND CHAIN; SET TRANSACTION READ WRITE; INSERT INTO t VALUES (1); COMMIT")]
    [InlineData("SELECT set_config('transaction_read_only', 'off', true); INSERT INTO t VALUES (1)")]
    [InlineData("SELECT setval('payments_id_seq', 50)")]
    public async Task Read_only_holds_whatever_the_script_says(string sql)
    {
        await using var database = await WithTableAsync();
        await Should.ThrowAsync<StatementException>(() =>
            TypedSql.RunAsync(database, RowFormat.Text, header: false,
            new RunOptions("me", ReadOnly: true, TimeSpan.Zero), "", sql));
        (await RowsAsync(database)).ShouldBe(0);
    }

    [Fact]
    public async Task Read_only_reads_and_refuses_non_transactional_statements()
    {
        await using var database = await WithTableAsync();
        var options = new RunOptions("me", ReadOnly: true, TimeSpan.Zero);
        (await TypedSql.RunAsync(database, RowFormat.Text, header: false,
            options, "", "SELECT count(*) FROM t; BEGIN; SELECT 2; COMMIT")).Output.ShouldBe("0\nBEGIN\n2\nROLLBACK\n");
        (await Should.ThrowAsync<ProblemException>(() =>
            TypedSql.RunAsync(database, RowFormat.Text, header: false, options, "", "VACUUM"))).Message.ShouldContain(
            "--read-only");
    }

    [Theory, InlineData("SELECT lo_create(4711)"), InlineData("BEGIN; SELECT lo_create(4711); COMMIT"),
        InlineData("BEGIN; SELECT lo_create(4711); COMMIT AND CHAIN; COMMIT")]
    public async Task Read_only_rolls_back_writes_that_the_server_allows(string sql)
    {
        await using var database = await TestDatabase.CreateAsync();
        await ReadAsync(database, sql);
        (await database.Db.FindAsync<int>("SELECT count(*)::integer FROM pg_largeobject_metadata", null, Cancel))
            .ShouldBe(0);
    }

    static Task<TypedSql> ReadAsync(TestDatabase database, string sql) =>
        TypedSql.RunAsync(database, RowFormat.Text, header: false, new RunOptions("me", ReadOnly: true, TimeSpan.Zero),
            "", sql);

    [Theory, InlineData("COPY payments TO PROGRAM 'cat'"), InlineData("COPY (SELECT 1) TO '/tmp/x'"),
        InlineData("BEGIN; SELECT 1; PREPARE TRANSACTION 'x'")]
    public async Task Read_only_refuses_what_cannot_be_rolled_back(string sql)
    {
        await using var database = await TestDatabase.CreateAsync();
        (await Should.ThrowAsync<ProblemException>(() => ReadAsync(database, sql))).Message.ShouldContain(
            "cannot be used with --read-only");
    }

    [Fact]
    public async Task The_isolation_level_may_be_set_after_other_settings()
    {
        await using var database = await TestDatabase.CreateAsync();
        const string sql =
            "BEGIN; SET LOCAL work_mem = '1MB'; SHOW work_mem; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SHOW "
            + "transaction_isolation; {0}";
        (await TypedSql.RunAsync(database,
            sql.Replace("{0}", "COMMIT", StringComparison.Ordinal))).Output.ShouldContain("serializable\n");
        (await ReadAsync(database, sql.Replace("{0}", "SELECT 1; COMMIT",
            StringComparison.Ordinal))).Output.ShouldContain("serializable\n1\n");
    }

    [Fact]
    public async Task A_procedure_that_commits_and_an_index_with_partitions_run_alone()
    {
        await using var database = await WithTableAsync();
        await TypedSql.RunAsync(database, """
            CREATE PROCEDURE p() LANGUAGE plpgsql AS $$
                BEGIN INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); ROLLBACK; END $$;
            CREATE TABLE parts (a int PRIMARY KEY) PARTITION BY RANGE (a);
            CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (9)
            """);
        (await TypedSql.RunAsync(database, "CALL p()")).Output.ShouldBe("CALL\n");
        (await RowsAsync(database)).ShouldBe(1);
        (await TypedSql.RunAsync(database, "REINDEX TABLE parts")).Output.ShouldBe("REINDEX\n");
        (await TypedSql.RefusalAsync(database, "SELECT 1; CALL p()")).ShouldContain("Run it in a separate call.");
    }

    [Fact]
    public async Task Notifications_are_printed()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await TypedSql.RunAsync(database, "LISTEN ch; BEGIN; NOTIFY ch, 'x'; COMMIT; SELECT 1")).Notes.ShouldStartWith(
            "NOTIFY:  ch, x (from pid ");
    }

    [Fact]
    public async Task Copy_accepts_either_word_for_the_connection()
    {
        await using var database = await WithTableAsync();
        (await TypedSql.RunAsync(database, "COPY t FROM STDOUT;\n1\n2\n\\.\nCOPY t TO STDIN;")).Output.ShouldBe(
            "COPY 2\n1\n2\n");
    }

    [Fact]
    public async Task A_statement_over_its_time_limit_is_canceled()
    {
        await using var database = await WithTableAsync();
        (await Should.ThrowAsync<StatementException>(() =>
            TypedSql.RunAsync(database, RowFormat.Text, header: false,
            new RunOptions("me", ReadOnly: false, TimeSpan.FromMilliseconds(50)), "", "SELECT pg_sleep(60)")))
            .Message.ShouldContain("statement timeout");
    }
}
