using Capsul.Foundation;
using Capsul.Postgres.Text;

namespace Capsul.Postgres.Statements;

/// <summary>One piece of SQL text as it was passed in.</summary>
/// <param name="Name">Its name in errors: <c>-c 2</c>, the file's name; "" if there is only one.</param>
/// <param name="Text">The SQL.</param>
/// <param name="Inline">The data of a COPY … FROM STDIN follows it in the text, as in a dump. Otherwise it is read from
/// standard input.</param>
public sealed record ScriptPart(string Name, string Text, bool Inline);

/// <summary>One statement of a script.</summary>
/// <param name="Part">The part that contains it.</param>
/// <param name="Number">Number of the statement in its part, from 1.</param>
/// <param name="Sql">Its text and line.</param>
/// <param name="Shape">Its properties that are known without the server.</param>
/// <param name="Data">For a COPY … FROM STDIN: the range of its data in the text of its part; null: from standard
/// input.</param>
public sealed record ScriptStatement(ScriptPart Part, int Number, SqlStatement Sql, StatementShape Shape, Range? Data)
{
    /// <summary>For a person: <c>fix.sql, statement 2, line 3</c>.</summary>
    public string Place(int line) =>
        $"{(Part.Name.Length == 0 ? "" : $"{Part.Name}, ")}statement {Number}, line {line}";
}

/// <summary>The statements of one call, in order.</summary>
public static class Script
{
    /// <summary>pg_dump writes these around a dump since August 2025; only psql uses them.</summary>
    static readonly string[] Passed = [@"\restrict", @"\unrestrict"];

    /// <exception cref="ProblemException">Invalid: a psql command, a zero byte, or unterminated data.</exception>
    public static IReadOnlyList<ScriptStatement> Read(IEnumerable<ScriptPart> parts)
    {
        var all = new List<ScriptStatement>();
        foreach (var part in parts)
        {
            // The protocol ends a statement at a zero byte: what follows, such as a WHERE, would be lost.
            if (part.Text.Contains('\0', StringComparison.Ordinal)) throw Refusal(part,
                "SQL must not contain a zero byte.");
            var reader = new SqlReader(part.Text);
            var number = 0;
            while (reader.Next() is { } sql)
            {
                if (sql.Text[0] == '\\')
                {
                    if (Passed.Contains(sql.Text.Split(' ', 2)[0], StringComparer.Ordinal)) continue;
                    throw Refusal(part,
                        $"Line {sql.Line}: {sql.Text.Split([' ', '\t'], 2)[0]} is a psql command, not SQL. It "
                        + "works in the interactive mode: capsul sql without -c and -f.");
                }
                var shape = StatementShape.Of(sql);
                Range? data = shape.Kind == StatementKind.CopyIn && part.Inline ? ReadData(reader, part, sql) : null;
                all.Add(new ScriptStatement(part, ++number, sql, shape, data));
            }
        }
        return all;
    }

    static Range ReadData(SqlReader reader, ScriptPart part, SqlStatement sql)
    {
        reader.SkipLine();
        var start = reader.Position;
        while (true)
        {
            var end = reader.Position;
            if (reader.NextLine() is not { } line)
                throw Refusal(part,
                    $"The data of the COPY in line {sql.Line} is not terminated: expected a line with \\. alone.");
            if (line == @"\.") return start..end;
        }
    }

    static ProblemException Refusal(ScriptPart part, string says) =>
        new(ProblemKind.Invalid, part.Name.Length == 0 ? says : $"{part.Name}: {says}");
}
