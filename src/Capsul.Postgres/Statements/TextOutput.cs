using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>One line per row, values joined by ", ", without quoting. Null is NULL.</summary>
public sealed class TextOutput(ByteSink sink, bool header) : RowOutput(sink)
{
    protected override void Begin(IReadOnlyList<ResultColumn> columns)
    {
        if (!header) return;
        Sink.Write(string.Join(", ", columns.Select(c => c.Name)));
        Sink.Write("\n"u8);
    }

    protected override void Row(NpgsqlDataReader reader, IReadOnlyList<ResultColumn> columns)
    {
        for (var i = 0; i < columns.Count; i++)
        {
            if (i > 0) Sink.Write(", "u8);
            if (reader.IsDBNull(i)) Sink.Write("NULL"u8);
            else CopyValue(reader, i, columns[i].Kind);
        }
        Sink.Write("\n"u8);
    }

    protected override void End(long rows) { }
}
