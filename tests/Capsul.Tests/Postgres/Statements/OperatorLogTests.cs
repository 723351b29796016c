using Capsul.Postgres.Statements;
using Capsul.Tests.Support;

namespace Capsul.Tests.Postgres.Statements;

/// <summary>operator_statements records who changed what manually, if and only if the change was committed.</summary>
public sealed class OperatorLogTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<string> LinesAsync(TestDatabase database) =>
        string.Join('\n',
            await database.Db.ListAsync<string>(
            "SELECT operator || ': ' || statement || ': ' || coalesce(rows::text, 'NULL') FROM operator_statements "
            + "ORDER BY id", null, Cancel));

    static async Task<TestDatabase> WithTableAsync()
    {
        var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync(
            "CREATE TABLE t (a int); CREATE FUNCTION hidden() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (9) "
            + "RETURNING a'", null, Cancel);
        return database;
    }

    [Theory]
    [InlineData("INSERT INTO t VALUES (1), (2)", "2")]
    [InlineData("UPDATE t SET a = 1 WHERE false", "0")]
    [InlineData("INSERT INTO t VALUES (1) RETURNING a", "1")]
    [InlineData("WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM x", "NULL")]
    [InlineData("SELECT hidden()", "NULL")]
    [InlineData("DO $$ BEGIN INSERT INTO t VALUES (1); END $$", "NULL")]
    [InlineData("CREATE TABLE u AS SELECT 1", "1")]
    [InlineData("ALTER TABLE t ADD COLUMN b int", "NULL")]
    [InlineData("TRUNCATE t", "NULL")]
    [InlineData("VACUUM t", "NULL")]
    public async Task A_statement_that_writes_is_logged(string sql, string rows)
    {
        await using var database = await WithTableAsync();
        await TypedSql.RunAsync(database, sql);
        (await LinesAsync(database)).ShouldBe($"test@here: {sql}: {rows}");
        var other = sql.StartsWith("VACUUM", StringComparison.Ordinal)
            ? "DROP TABLE t"
            : sql.Replace(" u ", " w ", StringComparison.Ordinal).Replace("b int", "c int", StringComparison.Ordinal);
        await TypedSql.RunAsync(database, $"CREATE TABLE v (a int); {other}");
        (await LinesAsync(database)).Split('\n').Length.ShouldBe(3, "also after another one that wrote");
    }

    [Theory]
    [InlineData("SELECT * FROM t")]
    [InlineData(
        "SELECT count(*) FROM t; SHOW work_mem; SET work_mem = '1MB'; EXPLAIN DELETE FROM t WHERE a = 1; VALUES (1)")]
    [InlineData("BEGIN; INSERT INTO t VALUES (1); ROLLBACK")]
    [InlineData("BEGIN; SAVEPOINT s; INSERT INTO t VALUES (1); ROLLBACK TO s; COMMIT")]
    public async Task A_statement_that_changes_nothing_is_not_logged(string sql)
    {
        await using var database = await WithTableAsync();
        await TypedSql.RunAsync(database, sql);
        (await LinesAsync(database)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_statement_that_fails_is_not_logged()
    {
        await using var database = await WithTableAsync();
        await TypedSql.RefusalAsync(database, "INSERT INTO t VALUES (1); SELECT nope");
        (await LinesAsync(database)).ShouldBeEmpty();
    }

    [Fact]
    public async Task A_missing_log_undoes_nothing_and_is_reported_once()
    {
        await using var database = await WithTableAsync();
        var all = await TypedSql.RunAsync(database,
            "DROP TABLE operator_statements; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)");
        all.Notes.ShouldBe(
            "capsul: the operator log is incomplete from here on: relation \"public.operator_statements\" does not "
                + "exist\n");
        (await TypedSql.RunAsync(database, "SELECT count(*) FROM t; INSERT INTO t VALUES (3)"))
            .ShouldBe(new TypedSql("2\n1 rows affected.\n", ""));
    }

    [Fact]
    public async Task A_script_may_change_the_search_path()
    {
        await using var database = await WithTableAsync();
        await TypedSql.RunAsync(database,
            "SELECT set_config('search_path', '', false); INSERT INTO public.t VALUES (1)");
        (await LinesAsync(database)).ShouldBe("test@here: INSERT INTO public.t VALUES (1): 1");
    }

    [Fact]
    public async Task A_long_statement_is_truncated_and_marked()
    {
        await using var database = await WithTableAsync();
        await TypedSql.RunAsync(database, $"INSERT INTO t SELECT 1 WHERE '{new string('x', 150_000)}' <> ''");
        var line = await LinesAsync(database);
        line.Length.ShouldBeLessThan(100_100);
        line.ShouldContain("more characters)");
        line.ShouldContain("<> ''", customMessage: "what follows the long literal is kept");
    }

    [Theory]
    [InlineData("/* long */ UPDATE t SET a = 2 WHERE a = 1 -- long", "UPDATE t SET a = 2 WHERE a = 1")]
    [InlineData("WITH x AS (SELECT 'long') UPDATE t SET a = 2 FROM x WHERE a = 1",
        "UPDATE t SET a = 2 FROM x WHERE a = 1")]
    [InlineData("DO $$ BEGIN /* long */ UPDATE t SET a = 2; END $$", "UPDATE t SET a = 2;")]
    [InlineData("DO $$ BEGIN PERFORM 'long'; UPDATE t SET a = 2; PERFORM 'long'; END $$", "UPDATE t SET a = 2;")]
    public async Task Long_parts_do_not_push_the_change_out_of_the_log(string sql, string kept)
    {
        await using var database = await WithTableAsync();
        await database.Db.ExecuteAsync("INSERT INTO t VALUES (1)", null, Cancel);
        await TypedSql.RunAsync(database, sql.Replace("long", new string('x', 200_000), StringComparison.Ordinal));
        (await LinesAsync(database)).ShouldContain(kept);
    }

    [Theory]
    [InlineData("PREPARE p AS UPDATE t SET a = 2 WHERE a = $1; EXECUTE p(1)",
        "PREPARE p AS UPDATE t SET a = 2 WHERE a = $1; EXECUTE p(1)")]
    [InlineData("PREPARE \"P q\" AS INSERT INTO t VALUES (1); EXPLAIN ANALYZE EXECUTE \"P q\"",
        "PREPARE \"P q\" AS INSERT INTO t VALUES (1); EXPLAIN ANALYZE EXECUTE \"P q\"")]
    [InlineData("BEGIN; DECLARE c CURSOR FOR SELECT hidden(); FETCH 1 FROM C; COMMIT",
        "DECLARE c CURSOR FOR SELECT hidden(); FETCH 1 FROM C")]
    public async Task A_named_statement_is_logged_with_its_definition(string sql, string kept)
    {
        await using var database = await WithTableAsync();
        await TypedSql.RunAsync(database, sql);
        (await LinesAsync(database)).ShouldContain($"test@here: {kept}: ");
    }

    [Fact]
    public async Task A_view_whose_function_writes_is_logged_even_after_another_write()
    {
        await using var database = await WithTableAsync();
        await database.Db.ExecuteAsync("CREATE VIEW v AS SELECT hidden() AS a", null, Cancel);
        await TypedSql.RunAsync(database, "INSERT INTO t VALUES (1); SELECT a FROM t; TABLE v");
        (await LinesAsync(database)).ShouldBe("test@here: INSERT INTO t VALUES (1): 1\ntest@here: TABLE v: NULL");
    }

    [Theory]
    [InlineData("ALTER ROLE jo PASSWORD 'hush'", "ALTER ROLE jo PASSWORD '(hidden)'")]
    [InlineData("CREATE USER jo WITH ENCRYPTED PASSWORD E'hu\\'sh' VALID UNTIL 'infinity'",
        "CREATE USER jo WITH ENCRYPTED PASSWORD '(hidden)' VALID UNTIL 'infinity'")]
    [InlineData("ALTER ROLE jo PASSWORD $x$hush$x$", "ALTER ROLE jo PASSWORD '(hidden)'")]
    [InlineData("DO $$ BEGIN ALTER ROLE jo PASSWORD 'hush'; END $$",
        "DO $$ BEGIN ALTER ROLE jo PASSWORD '(hidden)'; END $$")]
    [InlineData("DO $$ BEGIN EXECUTE 'ALTER ROLE jo PASSWORD ''hush'''; END $$",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE jo PASSWORD ''(hidden)'''; END $$")]
    [InlineData("DO 'BEGIN UPDATE t SET a = 1; ALTER ROLE jo PASSWORD ''hush''; END'",
        "DO 'BEGIN UPDATE t SET a = 1; ALTER ROLE jo PASSWORD ''(hidden)''; END'")]
    [InlineData("DO E'BEGIN\\nALTER ROLE jo PASSWORD \\'hush\\'; END'",
        "DO E'BEGIN\nALTER ROLE jo PASSWORD ''(hidden)''; END'")]
    [InlineData(
        "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'jo', 'hush'); UPDATE t SET b = 'kept'; END $$",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', '(hidden)', '(hidden)'); UPDATE t SET b = 'kept'; "
        + "END $$")]
    [InlineData("DO $$ BEGIN EXECUTE 'ALTER ROLE jo PASSWORD ' || quote_literal('hush'); END $$",
        "DO $$ BEGIN EXECUTE 'ALTER ROLE jo PASSWORD ' || quote_literal('(hidden)'); END $$")]
    [InlineData("UPDATE people SET smtp_password = 'hush', note = 'kept'",
        "UPDATE people SET smtp_password = '(hidden)', note = 'kept'")]
    [InlineData("CREATE SUBSCRIPTION s CONNECTION 'password=hush' PUBLICATION p",
        "CREATE SUBSCRIPTION s CONNECTION '(hidden)' PUBLICATION p")]
    [InlineData("SELECT 'no PASSWORD here', $$PASSWORD$$", "SELECT 'no PASSWORD here', $$PASSWORD$$")]
    public void Passwords_are_not_kept(string sql, string kept) => Passwords.Hide(sql).ShouldBe(kept);
}
