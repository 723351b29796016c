using Capsul.Postgres.Text;

namespace Capsul.Tests.Postgres.Text;

public sealed class SqlTextTests
{
    [Theory]
    [InlineData("SELECT 1; SELECT 2", new[] { "SELECT 1", "SELECT 2" })]
    [InlineData(";;\n ; -- nothing\n/* ; */", new string[0])]
    [InlineData("SELECT ';', \"a;b\" /* ; /* ; */ ; */ FROM t -- ;\n; SELECT 2",
        new[] { "SELECT ';', \"a;b\" /* ; /* ; */ ; */ FROM t", "SELECT 2" })]
    [InlineData("SELECT 'it''s;', E'it\\'s;', 'back\\'; SELECT 2",
        new[] { "SELECT 'it''s;', E'it\\'s;', 'back\\'", "SELECT 2" })]
    [InlineData("SELECT E'a'\n  'b\\';c'; SELECT 2", new[] { "SELECT E'a'\n  'b\\';c'", "SELECT 2" })]
    [InlineData("SELECT $$;$$, $a$;$$;$b$;$a$, a$b$c; SELECT $1",
        new[] { "SELECT $$;$$, $a$;$$;$b$;$a$, a$b$c", "SELECT $1" })]
    [InlineData("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t; SELECT 1); SELECT 2",
        new[] { "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t; SELECT 1)", "SELECT 2" })]
    [InlineData(
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; SELECT 2",
        new[] { "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END",
            "SELECT 2" })]
    [InlineData("create or replace procedure p() begin atomic select 1; end; select 2",
        new[] { "create or replace procedure p() begin atomic select 1; end", "select 2" })]
    [InlineData("BEGIN; SELECT 1; COMMIT;", new[] { "BEGIN", "SELECT 1", "COMMIT" })]
    [InlineData("SELECT 1+--one\n1; SELECT 2*/*two*/2; SELECT U&'\\0041;', u&\"d\\0061t;\", B'1;', X'1;'",
        new[] { "SELECT 1+--one\n1", "SELECT 2*/*two*/2", "SELECT U&'\\0041;', u&\"d\\0061t;\", B'1;', X'1;'" })]
    public void Statements_end_where_postgres_ends_them(string text, string[] statements) =>
        SqlText.Split(text).Select(s => s.Text).ShouldBe(statements);

    [Theory, InlineData("SELECT 'a", "string"), InlineData("SELECT /* a /* b */", "comment"),
        InlineData("SELECT $x$ $$", "dollar quote"),
     InlineData("SELECT \"a", "quoted name"), InlineData("SELECT (1;", "parenthesis"),
         InlineData("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1;", "BEGIN"), InlineData("SELECT 1", null)]
    public void What_is_unclosed_at_the_end_is_named(string text, string? open)
    {
        var reader = new SqlReader(text);
        while (reader.Next() is not null) { }
        reader.Unclosed.ShouldBe(open);
    }

    [Theory]
    [InlineData("SELECT a-1.5e-3::int[] FROM t WHERE x>=-1 AND y<>$1",
        "SELECT|a|-|1.5e-3|::|int|[|]|FROM|t|WHERE|x|>=|-|1|AND|y|<>|$1")]
    [InlineData("a@>-1 1..10 x:=y .5 é$1 'a'\r\n'b' 'a' 'b'", "a|@>-|1|1|..|10|x|:=|y|.5|é$1|'a'\r\n'b'|'a'|'b'")]
    public void Tokens_are_those_of_postgres(string text, string expected)
    {
        var lexer = new SqlLexer(text);
        var tokens = new List<string>();
        while (lexer.Next() is { } token) tokens.Add(text.Substring(token.Start, token.Length));
        string.Join('|', tokens).ShouldBe(expected);
    }

    [Fact]
    public void Each_statement_has_its_position()
    {
        var statements = SqlText.Split("-- head\nSELECT 1;\n\n  SELECT\n 2;SELECT 3").ToList();
        statements.Select(s => s.Line).ShouldBe([2, 4, 5]);
        SqlText.Place("ab\ncd", 4).ShouldBe((2, 2));
        SqlText.Place("ab", 0).ShouldBe((1, 1));
        statements[0].Words(9).ShouldBe(["SELECT"]);
    }

    [Fact]
    public void Data_of_a_copy_is_read_as_lines()
    {
        var reader = new SqlReader("COPY t FROM stdin; -- data\n1\ta;b\r\n\\.\nSELECT 1;");
        reader.Next()!.Text.ShouldBe("COPY t FROM stdin");
        reader.NextLine().ShouldBe("1\ta;b");
        reader.NextLine().ShouldBe("\\.");
        var after = reader.Next()!;
        (after.Text, after.Line).ShouldBe(("SELECT 1", 4));
        reader.NextLine().ShouldBeNull();
    }

    [Theory]
    [InlineData("SELECT 1;", "-- a comment\r\nselect\t1 ;", true)]
    [InlineData("CREATE FUNCTION f() AS $$ a\n b $$", "create function F() as $$ a\r\n b $$", true)]
    [InlineData("SELECT 'a'", "SELECT 'A'", false)]
    [InlineData("SELECT ab", "SELECT a b", false)]
    [InlineData("SELECT \"A\"", "SELECT \"a\"", false)]
    public void A_checksum_covers_only_what_matters(string one, string other, bool same) =>
        (SqlText.Checksum(one) == SqlText.Checksum(other)).ShouldBe(same);
}
