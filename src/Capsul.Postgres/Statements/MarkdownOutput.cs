using System.Text;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>A GitHub Markdown table; numbers are right-aligned.</summary>
public sealed class MarkdownOutput(ByteSink sink) : RowOutput(sink)
{
    bool second;

    protected override void Begin(IReadOnlyList<ResultColumn> columns)
    {
        // A table needs an empty line before it.
        if (second) Sink.Write("\n"u8);
        second = true;
        foreach (var column in columns)
        {
            Sink.Write("| "u8);
            Cell(Encoding.UTF8.GetBytes(column.Name));
            Sink.Write(" "u8);
        }
        Sink.Write("|\n"u8);
        foreach (var column in columns) Sink.Write(column.Kind == ColumnKind.Number ? "|---:"u8 : "|---"u8);
        Sink.Write("|\n"u8);
    }

    protected override void Row(NpgsqlDataReader reader, IReadOnlyList<ResultColumn> columns)
    {
        for (var i = 0; i < columns.Count; i++)
        {
            Sink.Write("| "u8);
            if (reader.IsDBNull(i)) Sink.Write("NULL"u8);
            else Cell(Value(reader, i, columns[i].Kind));
            Sink.Write(" "u8);
        }
        Sink.Write("|\n"u8);
    }

    protected override void End(long rows) { }

    void Cell(ReadOnlySpan<byte> value)
    {
        while (value.IndexOfAny("|\\\r\n"u8) is var at and >= 0)
        {
            Sink.Write(value[..at]);
            Sink.Write(value[at] switch
            {
                (byte)'|' => "\\|"u8,
                (byte)'\\' => "\\\\"u8,
                (byte)'\n' => "<br>"u8,
                _ => ""u8,
            });
            value = value[(at + 1)..];
        }
        Sink.Write(value);
    }
}
