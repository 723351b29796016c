using System.Text;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>
/// RFC 4180 with Unix line ends, as COPY and psql write it: null is empty, an empty text is "". Command tags go to the
/// notes, so that the output stays a table.
/// </summary>
public sealed class CsvOutput(ByteSink sink, bool header, TextWriter notes) : RowOutput(sink)
{
    public override void Tag(string text) => notes.WriteLine(text);

    protected override void Begin(IReadOnlyList<ResultColumn> columns)
    {
        if (!header) return;
        for (var i = 0; i < columns.Count; i++)
        {
            if (i > 0) Sink.Write(","u8);
            Field(Encoding.UTF8.GetBytes(columns[i].Name));
        }
        Sink.Write("\n"u8);
    }

    protected override void Row(NpgsqlDataReader reader, IReadOnlyList<ResultColumn> columns)
    {
        for (var i = 0; i < columns.Count; i++)
        {
            if (i > 0) Sink.Write(","u8);
            if (!reader.IsDBNull(i)) Field(Value(reader, i, columns[i].Kind));
        }
        Sink.Write("\n"u8);
    }

    protected override void End(long rows) { }

    void Field(ReadOnlySpan<byte> value)
    {
        // \. alone on a line would end the data of a COPY.
        if (value.Length > 0 && value.IndexOfAny("\",\r\n"u8) < 0 && !value.SequenceEqual("\\."u8))
        {
            Sink.Write(value);
            return;
        }
        Sink.Write("\""u8);
        while (value.IndexOf((byte)'"') is var quote and >= 0)
        {
            Sink.Write(value[..(quote + 1)]);
            Sink.Write("\""u8);
            value = value[(quote + 1)..];
        }
        Sink.Write(value);
        Sink.Write("\""u8);
    }
}
