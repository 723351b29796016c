using Capsul.Postgres.Statements;
using Capsul.Tests.Support;
using CsCheck;
using Npgsql;

namespace Capsul.Tests.Postgres.Statements;

/// <summary>How a value of each type is printed.</summary>
public sealed class ValueTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Expression, and the expected output.</summary>
    static readonly (string Sql, string Printed)[] Values =
    [
        ("NULL", "NULL"), ("0", "0"), ("''", ""), ("'NULL'", "NULL"),
            ("false", "FALSE"), ("true", "TRUE"), ("NULL::boolean", "NULL"), ("-5::smallint", "-5"),
        ("9223372036854775807", "9223372036854775807"), ("20.00", "20.00"),
            ("20::numeric(12,2)", "20.00"), ("0.10::numeric", "0.10"), ("'NaN'::numeric", "NaN"),
        ("'Infinity'::numeric", "Infinity"), ("repeat('9', 1000)::numeric", new string('9', 1000)),
            ("1e-20::numeric", "0.00000000000000000001"),
        ("0.1::float8", "0.1"), ("'-Infinity'::float8", "-Infinity"),
            ("1e300::float8", "1e+300"), ("1.5::float4", "1.5"), ("12.5::money::numeric", "12.50"),
        ("timestamp '2020-05-05'", "2020-05-05T00:00:00"),
            ("timestamptz '2020-05-05 00:00:00Z'", "2020-05-05T00:00:00"),
        ("timestamptz '2020-05-05 02:30:00+02'", "2020-05-05T00:30:00"),
            ("timestamp '2020-05-05 01:02:03.123456'", "2020-05-05T01:02:03.123456"),
        ("timestamp '2020-05-05 01:02:03.5'", "2020-05-05T01:02:03.500000"),
            ("timestamptz '2020-05-05 01:02:03.000001Z'", "2020-05-05T01:02:03.000001"),
        ("'infinity'::timestamptz", "infinity"), ("'-infinity'::timestamp", "-infinity"),
            ("timestamptz '0044-03-15 00:00:00Z BC'", "0044-03-15 00:00:00+00 BC"),
        ("timestamp '0044-03-15 BC'", "0044-03-15 00:00:00 BC"),
            ("timestamp '12345-01-02 03:04:05'", "12345-01-02T03:04:05"),
            ("timestamptz '0001-01-01 00:00:00Z'", "0001-01-01T00:00:00"),
        ("date '2020-05-05'", "2020-05-05"), ("date '0044-03-15 BC'", "0044-03-15 BC"),
            ("'infinity'::date", "infinity"), ("time '01:02:03'", "01:02:03"),
        ("timetz '01:02:03+02'", "01:02:03+02"), ("interval '1 year 2 days 03:04:05.6'", "1 year 2 days 03:04:05.6"),
            ("interval '-1 day'", "-1 days"),
        ("ARRAY[true, NULL, false]", "{t,NULL,f}"), ("ARRAY[timestamp '2020-05-05']", "{\"2020-05-05 00:00:00\"}"),
            ("ARRAY[[1,2],[3,4]]", "{{1,2},{3,4}}"), ("'{}'::int[]", "{}"),
        ("int4range(1, 5)", "[1,5)"), ("'empty'::int4range", "empty"),
            ("tstzrange('2020-05-05Z', NULL)", "[\"2020-05-05 00:00:00+00\",)"),
            ("'{[1,2)}'::int4multirange", "{[1,2)}"),
        ("'{\"b\": 1,  \"a\": [true, null]}'::json", "{\"b\": 1,  \"a\": [true, null]}"),
            ("'{\"b\":1,\"a\":[true]}'::jsonb", "{\"a\": [true], \"b\": 1}"), ("'null'::jsonb", "null"),
        ("'\\x00ff'::bytea", "\\x00ff"), ("'10.0.0.1/8'::inet", "10.0.0.1/8"),
            ("'10.0.0.0/8'::cidr", "10.0.0.0/8"), ("'08:00:2b:01:02:03'::macaddr", "08:00:2b:01:02:03"),
        ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ("B'101'", "101"), ("point '(1,2)'", "(1,2)"), ("ROW(1, true, NULL)", "(1,t,)"),
        ("'payments'::regclass", "payments"), ("1::oid", "1"), ("'a'::\"char\"", "a"),
            ("'x  '::char(5)", "x    "), ("'mood'::name", "mood"), ("'a b'::tsvector", "'a' 'b'"),
        ("xmlparse(content '<a/>')", "<a/>"), ("E'two\\nlines, and\\ttab'", "two\nlines, and\ttab"),
            ("'žluťoučký 🐎'", "žluťoučký 🐎"), ("pg_typeof(1)", "integer"),
        ("'{\"a\":1}'::jsonb ? 'a'", "TRUE"), ("@ -5", "5"), ("(ARRAY[1,2,3])[1:2]", "{1,2}"),
            ("$$;$$", ";"), ("'@name :name $1'", "@name :name $1"),
    ];

    [Fact]
    public async Task Values_are_printed_as_documented()
    {
        await using var database = await TestDatabase.CreateAsync();
        var output =
            (await TypedSql.RunAsync(database, string.Join(";", Values.Select(v => $"SELECT {v.Sql}")))).Output;
        output.ShouldBe(string.Concat(Values.Select(v => v.Printed + "\n")));
    }

    [Fact]
    public async Task User_defined_types_are_printed_as_postgres_prints_them()
    {
        await using var database = await TestDatabase.CreateAsync();
        (await TypedSql.RunAsync(database, """
            CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN yes AS boolean; CREATE TYPE pair AS (a int, b yes);
            SELECT 'glad'::mood, true::yes, (1, true)::pair, ARRAY['sad'::mood], 5 AS "a:b @c"
            """)).Output.ShouldEndWith("glad, TRUE, (1,t), {sad}, 5\n");
    }

    [Fact]
    public async Task Settings_of_the_role_do_not_change_the_output()
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("""
            DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET DateStyle = ''German''', current_database());
            EXECUTE format('ALTER DATABASE %I SET TimeZone = ''Asia/Tokyo''', current_database());
            EXECUTE format('ALTER DATABASE %I SET bytea_output = ''escape''', current_database());
            EXECUTE format('ALTER DATABASE %I SET IntervalStyle = ''iso_8601''', current_database()); END $$
            """, null, Cancel);
        (await TypedSql.RunAsync(database,
            "SELECT timestamptz '2020-05-05Z', '\\x00'::bytea, interval '1 day'")).Output.ShouldBe(
            "2020-05-05T00:00:00, \\x00, 1 day\n");
        (await TypedSql.RunAsync(database,
            "SET TIME ZONE 'Asia/Kolkata'; SELECT timestamptz '2020-05-05 00:00:00.5Z'")).Output.ShouldBe(
            "SET\n2020-05-05T05:30:00.500000+05:30\n");
    }

    /// <summary>Longer than every buffer, and of every length around their boundaries.</summary>
    [Fact]
    public async Task Long_values_are_complete()
    {
        await using var database = await TestDatabase.CreateAsync();
        const string sql =
            "SELECT n, repeat('é', n), true, repeat('x', n / 2) FROM unnest(ARRAY[255, 256, 257, 4095, 4096, 32760, "
            + "32767, 32768, 65535, 65536, 5000000]) n";
        string Row(int n) => $"{n}, {new string('é', n)}, TRUE, {new string('x', n / 2)}\n";
        var output = (await TypedSql.RunAsync(database, sql)).Output;
        output.ShouldBe(
            string.Concat(new[] { 255, 256, 257, 4095, 4096, 32760, 32767, 32768, 65535, 65536, 5000000 }.Select(Row)));
        (await TypedSql.RunAsync(database, RowFormat.Csv, sql)).Output.Length.ShouldBe(
            output.Replace(", ", ",", StringComparison.Ordinal).Length + "n,repeat,?column?,repeat\n".Length);
    }

    [Fact]
    public async Task Random_times_match_dotnet()
    {
        await using var database = await TestDatabase.CreateAsync();
        var times = Gen.DateTime.Array[200].Single().Select(t => new DateTime(t.Ticks / 10 * 10, DateTimeKind.Utc))
            .ToArray();
        await using var connection = await database.Db.OpenAsync(Cancel);
        await using var make = new NpgsqlCommand(
            "CREATE TABLE times AS SELECT n, t FROM unnest($1::timestamptz[]) WITH ORDINALITY AS u (t, n)",
            connection)
        { Parameters = { new() { Value = times } } };
        await make.ExecuteNonQueryAsync(Cancel);
        (await TypedSql.RunAsync(database, "SELECT t FROM times ORDER BY n")).Output
            .ShouldBe(string.Concat(times.Select(t =>
                $"{t.ToString(t.Ticks % 10_000_000 == 0 ? "yyyy-MM-ddTHH:mm:ss" : "yyyy-MM-ddTHH:mm:ss.ffffff")}\n")));
    }
}
