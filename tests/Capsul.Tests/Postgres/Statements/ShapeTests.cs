using Capsul.Foundation;
using Capsul.Postgres.Statements;
using Capsul.Postgres.Text;
using CsCheck;

namespace Capsul.Tests.Postgres.Statements;

/// <summary>What is known of a statement from its text alone.</summary>
public sealed class ShapeTests
{
    static string Whole(string sql) =>
        string.Join(", ", StatementShape.Of(SqlText.Split(sql).Single()).WholeTables.Select(w =>
        $"{w.Verb} {w.Table}"));

    [Theory]
    [InlineData("UPDATE payments SET note = ''", "UPDATE payments")]
    [InlineData("delete from only public.\"My Table\" as m", "DELETE public.\"My Table\"")]
    [InlineData("DELETE FROM t USING u", "DELETE t")]
    [InlineData("UPDATE t SET a = (SELECT b FROM u WHERE u.id = t.id)", "UPDATE t")]
    [InlineData("WITH x AS (DELETE FROM t) SELECT 1", "DELETE t")]
    [InlineData(
        "WITH x AS MATERIALIZED (UPDATE t SET a = 1 RETURNING a), y AS (DELETE FROM u WHERE a = 1) DELETE FROM v",
        "UPDATE t, DELETE v")]
    [InlineData("EXPLAIN ANALYZE DELETE FROM t", "DELETE t")]
    [InlineData("EXPLAIN (ANALYZE, COSTS OFF) UPDATE t SET a = 1", "UPDATE t")]
    [InlineData("PREPARE p (int) AS DELETE FROM t", "DELETE t")]
    [InlineData("COPY (DELETE FROM t RETURNING *) TO STDOUT", "DELETE t")]
    [InlineData("UPDATE t SET a = 'WHERE' -- WHERE a = 1", "UPDATE t")]
    [InlineData("TRUNCATE TABLE ONLY payments CASCADE", "TRUNCATE payments")]
    [InlineData("truncate a, b", "TRUNCATE a")]
    [InlineData("UPDATE payments SET invalidated = True WHERE id = 1", "")]
    [InlineData("DELETE FROM t WHERE CURRENT OF c", "")]
    [InlineData("DELETE FROM t USING u WHERE t.a = u.a RETURNING (SELECT 1)", "")]
    [InlineData("SELECT * FROM t FOR UPDATE", "")]
    [InlineData("INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2", "")]
    [InlineData("CREATE TABLE t (a int REFERENCES u ON DELETE CASCADE ON UPDATE CASCADE)", "")]
    [InlineData("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "")]
    [InlineData("CREATE RULE r AS ON UPDATE TO t DO INSTEAD DELETE FROM u", "")]
    [InlineData("GRANT UPDATE, DELETE ON t TO u", "")]
    [InlineData("WITH x AS (SELECT 1 FOR UPDATE) SELECT 'DELETE FROM t'", "")]
    public void Update_and_delete_without_where_are_found(string sql, string found) => Whole(sql).ShouldBe(found);

    [Theory]
    [InlineData("COPY t FROM STDIN", StatementKind.CopyIn)]
    [InlineData("COPY \"from\" (a, b) FROM stdin WITH (FORMAT csv)", StatementKind.CopyIn)]
    [InlineData("COPY (SELECT 'FROM STDIN' FROM t) TO STDOUT", StatementKind.CopyOut)]
    [InlineData("COPY t FROM STDOUT", StatementKind.CopyIn)]
    [InlineData("COPY t TO STDIN", StatementKind.CopyOut)]
    [InlineData("COPY t FROM '/file'", StatementKind.Plain)]
    [InlineData("COPY t TO PROGRAM 'cat'", StatementKind.Plain)]
    [InlineData("ROLLBACK TO SAVEPOINT x", StatementKind.Plain)]
    [InlineData("rollback work to x", StatementKind.Plain)]
    [InlineData("END", StatementKind.EndTransaction)]
    [InlineData("COMMIT AND NO CHAIN", StatementKind.EndTransaction)]
    [InlineData("COMMIT AND CHAIN", StatementKind.Chain)]
    [InlineData("ROLLBACK PREPARED 'x'", StatementKind.Outside)]
    [InlineData("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", StatementKind.Outside)]
    [InlineData("REINDEX TABLE t", StatementKind.Plain)]
    [InlineData("CLUSTER t", StatementKind.Plain)]
    public void What_it_means_for_the_transaction_is_known(string sql, StatementKind kind) =>
        StatementShape.Of(SqlText.Split(sql).Single()).Kind.ShouldBe(kind);

    [Fact]
    public void A_zero_byte_would_truncate_a_statement_and_is_refused() =>
        Should.Throw<ProblemException>(() =>
            Script.Read([new ScriptPart("", "DELETE FROM t \0 WHERE a = 1", Inline: false)])).Problem.Kind.ShouldBe(
            ProblemKind.Invalid);

    [Fact]
    public void Unterminated_data_is_refused() =>
        Should.Throw<ProblemException>(() =>
            Script.Read(
            [new ScriptPart("x.sql", "SELECT 1;\nCOPY t FROM STDIN;\n1\n2\n", Inline: true)])).Message.ShouldBe(
            "x.sql: The data of the COPY in line 2 is not terminated: expected a line with \\. alone.");

    /// <summary>
    /// Statements made of everything that may hide a semicolon, joined by everything that may separate two.
    /// </summary>
    [Fact]
    public void Joined_statements_are_split_again()
    {
        var piece = OneOf("a", "\"b;\"\"\"", "'c;'''", "E'd\\';'", "$$e;'$$", "$x$f;$$;$x$",
            "(g;h)", "/* i; /* ; */ ' */", "-- j;'\n", "1.5", "::int", "\n", "é", "$1", "U&'\\0041;'", "->>", "[k]");
        var statement = piece.Array[1, 8].Select(p => "s " + string.Join(' ', p) + " t");
        var between = OneOf(";", " ; ", ";\n-- n;'\n", ";/* ;' */", ";;\n;");
        Gen.Select(statement, between).Array[1, 6].Sample(all =>
        {
            var text = string.Concat(all.Select(a => a.Item1 + a.Item2));
            SqlText.Split(text).Select(s => s.Text).ShouldBe(all.Select(a => a.Item1));
            foreach (var s in SqlText.Split(text)) text.Substring(s.Start, s.Text.Length).ShouldBe(s.Text);
        }, iter: 20_000);
    }

    static Gen<string> OneOf(params string[] all) => Gen.Int[0, all.Length - 1].Select(i => all[i]);
}
