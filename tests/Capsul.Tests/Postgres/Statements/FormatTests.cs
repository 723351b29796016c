using System.Text.Json;
using Capsul.Postgres.Statements;
using Capsul.Tests.Support;

namespace Capsul.Tests.Postgres.Statements;

/// <summary>csv, json, markdown and table.</summary>
public sealed class FormatTests
{
    const string Mixed =
        "SELECT 1 AS a, NULL::text AS b, '' AS b, E'x,\"y\"\nz|' AS \"c\"\"d\", true AS e, 20.00 AS f, timestamp "
        + "'2020-05-05' AS g, '{\"k\":[1]}'::jsonb AS h";

    static async Task<TypedSql> RunAsync(RowFormat format, string sql)
    {
        await using var database = await TestDatabase.CreateAsync();
        return await TypedSql.RunAsync(database, format, sql);
    }

    [Fact]
    public async Task Csv_quotes_where_needed_and_distinguishes_null_from_empty()
    {
        var all = await RunAsync(RowFormat.Csv, $"{Mixed}; CREATE TABLE t (a int)");
        all.Output.ShouldBe(
            "a,b,b,\"c\"\"d\",e,f,g,h\n1,,\"\",\"x,\"\"y\"\"\nz|\",TRUE,20.00,2020-05-05T00:00:00,\"{\"\"k\"\": "
            + "[1]}\"\n");
        all.Notes.ShouldBe("CREATE TABLE\n");
    }

    [Fact]
    public async Task Postgres_reads_csv_back_as_the_same_rows()
    {
        await using var database = await TestDatabase.CreateAsync();
        await TypedSql.RunAsync(database,
            "CREATE TABLE t AS SELECT n, CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE "
            + "string_agg(substr(E'a\",\\n\\r ;|\\t.', (n * m) % 11 + 1, 1), '' ORDER BY m) END AS b FROM "
            + "generate_series(1, 500) n, generate_series(1, 9) m GROUP BY n; CREATE TABLE u (LIKE t)");
        var csv = (await TypedSql.RunAsync(database, RowFormat.Csv, "SELECT * FROM t")).Output;
        await TypedSql.RunAsync(database, RowFormat.Text, header: false,
            new RunOptions("me", ReadOnly: false, TimeSpan.Zero), csv, "COPY u FROM STDIN (FORMAT csv, HEADER)");
        (await TypedSql.RunAsync(database,
            "SELECT count(*) FROM u; (TABLE t EXCEPT TABLE u) UNION ALL (TABLE u EXCEPT TABLE t)")).Output.ShouldBe(
            "500\n");
    }

    [Fact]
    public async Task Json_is_valid_and_keeps_every_digit()
    {
        var output =
            (await RunAsync(RowFormat.Json,
            $"{Mixed}, 12345678901234567890.12345678901234567890 AS i, 'NaN'::float8 AS j, '-Infinity'::numeric AS k, "
            + "1e300::float8 AS l, 9007199254740993 AS m, 'é🐎' AS b_2, 5 AS b")).Output;
        var row = JsonDocument.Parse(output).RootElement[0];
        string Raw(string name) => row.GetProperty(name).GetRawText();
        (Raw("a"), Raw("b"), Raw("b_3"), row.GetProperty("b_2").GetString(), Raw("b_4"))
            .ShouldBe(("1", "null", "\"\"", "é🐎", "5"), output);
        row.GetProperty("c\"d").GetString().ShouldBe("x,\"y\"\nz|");
        (Raw("e"), Raw("f"), Raw("g"), Raw("h")).ShouldBe(("true", "20.00", "\"2020-05-05T00:00:00\"", "{\"k\": [1]}"));
        (Raw("i"), Raw("j"), Raw("k"), Raw("l"), Raw("m"))
            .ShouldBe(("12345678901234567890.12345678901234567890", "\"NaN\"",
            "\"-Infinity\"", "1e+300", "9007199254740993"));
    }

    [Fact]
    public async Task Json_is_one_array_even_without_rows() =>
        (await RunAsync(RowFormat.Json,
            "SELECT 1 AS a WHERE false; SELECT generate_series(1, 3) AS a")).Output.ShouldBe(
            "[]\n[\n{\"a\":1},\n{\"a\":2},\n{\"a\":3}\n]\n");

    [Fact]
    public async Task Markdown_escapes_cells() =>
        (await RunAsync(RowFormat.Markdown,
            "SELECT 1 AS n, E'a|b\\\\\\nc' AS \"x|y\"; SELECT NULL AS z")).Output.ShouldBe(
            "| n | x\\|y |\n|---:|---|\n| 1 | a\\|b\\\\<br>c |\n\n| z |\n|---|\n| NULL |\n");

    [Fact]
    public async Task A_table_is_aligned_in_columns() =>
        (await RunAsync(RowFormat.Table,
            "SELECT * FROM (VALUES (1, 'x', 'end'), (100, '日本', E'two\\nlines')) v (id, name, \"last one\"); UPDATE "
            + "payments SET note = '' WHERE false")).Output
            .ShouldBe(
                " id | name | last one\n----+------+-----------\n  1 | x    | end\n100 | 日本 | two\\nlines\n(2 "
                + "rows)\n0 rows affected.\n");

    [Fact]
    public async Task A_long_table_is_printed_before_its_end()
    {
        var lines = (await RunAsync(RowFormat.Table,
            "SELECT n, repeat('x', n / 1000) AS b FROM generate_series(1, 2500) n")).Output.Split('\n');
        lines.Length.ShouldBe(2 + 2500 + 1 + 1);
        lines[^2].ShouldBe("(2500 rows)");
    }
}
