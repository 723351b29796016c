using System.Text.Encodings.Web;
using System.Text.Json;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>
/// One array of objects for each statement that returns rows, one object per line. Numbers keep all of PostgreSQL's
/// digits; NaN and infinity, which JSON does not have, are strings; json columns are embedded as they are. Two columns
/// named a become a and a_2.
/// </summary>
public sealed class JsonOutput(ByteSink sink, TextWriter notes) : RowOutput(sink)
{
    readonly Utf8JsonWriter writer = new(sink,
        new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true });
    JsonEncodedText[] names = [];
    bool first;

    public override void Tag(string text) => notes.WriteLine(text);

    protected override void Begin(IReadOnlyList<ResultColumn> columns)
    {
        names = [.. Distinct(columns)
            .Select(n => JsonEncodedText.Encode(n, JavaScriptEncoder.UnsafeRelaxedJsonEscaping))];
        first = true;
        Sink.Write("["u8);
    }

    protected override void Row(NpgsqlDataReader reader, IReadOnlyList<ResultColumn> columns)
    {
        Sink.Write(first ? "\n"u8 : ",\n"u8);
        first = false;
        writer.Reset();
        writer.WriteStartObject();
        for (var i = 0; i < columns.Count; i++)
        {
            writer.WritePropertyName(names[i]);
            if (reader.IsDBNull(i)) writer.WriteNullValue();
            else Write(Value(reader, i, columns[i].Kind), columns[i].Kind);
        }
        writer.WriteEndObject();
        writer.Flush();
    }

    protected override void End(long rows) => Sink.Write(first ? "]\n"u8 : "\n]\n"u8);

    void Write(ReadOnlySpan<byte> value, ColumnKind kind)
    {
        if (kind == ColumnKind.Boolean) writer.WriteBooleanValue(value[0] == 'T');
        // NaN, Infinity, -Infinity: all end with a letter.
        else if (kind == ColumnKind.Json || kind == ColumnKind.Number && char.IsAsciiDigit((char)value[^1]))
            writer.WriteRawValue(value, skipInputValidation: true);
        else writer.WriteStringValue(value);
    }

    static List<string> Distinct(IReadOnlyList<ResultColumn> columns)
    {
        var taken = columns.Select(c => c.Name).ToHashSet(StringComparer.Ordinal);
        var given = new HashSet<string>(StringComparer.Ordinal);
        var names = new List<string>();
        foreach (var column in columns)
        {
            var name = column.Name;
            for (var n = 2; !given.Add(name); n++)
            {
                name = $"{column.Name}_{n}";
                if (taken.Contains(name)) name = column.Name;
            }
            names.Add(name);
        }
        return names;
    }
}
