using System.Globalization;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>How rows are written.</summary>
public enum RowFormat
{
    /// <summary>Values joined by ", ".</summary>
    Text,
    Csv,
    Json,
    Markdown,
    Table,
}

/// <summary>How the values of a column's type are written.</summary>
public enum ColumnKind
{
    /// <summary>As PostgreSQL prints it.</summary>
    Plain,
    /// <summary>TRUE and FALSE instead of t and f.</summary>
    Boolean,
    /// <summary>With a T between date and time, and no zone if it is UTC.</summary>
    Time,
    Number,
    Json,
}

/// <summary>One column of a result.</summary>
public sealed record ResultColumn(string Name, ColumnKind Kind);

/// <summary>
/// Writes results. Values are PostgreSQL's own text, for every type; only boolean and timestamp columns are converted.
/// Rows are read without await and without strings, which makes a million of them fast.
/// </summary>
public abstract class RowOutput(ByteSink sink)
{
    /// <summary>Longest text of a timestamp with its zone and era, with space for a longer fraction.</summary>
    const int LongestTime = 64;

    const int RowsBetweenSweeps = 250_000;

    byte[] value = new byte[256];

    protected ByteSink Sink { get; } = sink;

    /// <param name="format">The format.</param>
    /// <param name="header">Column names first; markdown, table and json have them anyway.</param>
    /// <param name="output">The target.</param>
    /// <param name="notes">Target of command tags if the format has no place for them.</param>
    public static RowOutput Make(RowFormat format, bool header, Stream output, TextWriter notes)
    {
        var sink = new ByteSink(output);
        return format switch
        {
            RowFormat.Text => new TextOutput(sink, header),
            RowFormat.Csv => new CsvOutput(sink, header, notes),
            RowFormat.Json => new JsonOutput(sink, notes),
            RowFormat.Markdown => new MarkdownOutput(sink),
            RowFormat.Table => new TableOutput(sink),
        };
    }

    /// <summary>Writes all rows of the result; returns how many.</summary>
    public long WriteRows(NpgsqlDataReader reader)
    {
        var columns = Columns(reader);
        Begin(columns);
        var rows = 0L;
        for (; reader.Read(); rows++)
        {
            Row(reader, columns);
            // Reading leaves a few bytes of garbage per row; otherwise the runtime lets tens of megabytes accumulate
            // before it collects.
            if (rows % RowsBetweenSweeps == RowsBetweenSweeps - 1) GC.Collect(0);
        }
        End(rows);
        Sink.Flush();
        return rows;
    }

    /// <summary>Writes the result of a statement without rows: its command tag, or how many rows it changed.</summary>
    public virtual void Tag(string text)
    {
        Sink.Write(text);
        Sink.Write("\n"u8);
        Sink.Flush();
    }

    /// <summary>Writes raw bytes, for COPY … TO STDOUT.</summary>
    public void Raw(ReadOnlySpan<byte> bytes) => Sink.Write(bytes);

    public void Flush() => Sink.Flush();

    protected abstract void Begin(IReadOnlyList<ResultColumn> columns);

    protected abstract void Row(NpgsqlDataReader reader, IReadOnlyList<ResultColumn> columns);

    protected abstract void End(long rows);

    static List<ResultColumn> Columns(NpgsqlDataReader reader) =>
        [.. Enumerable.Range(0, reader.FieldCount)
            .Select(i => new ResultColumn(reader.GetName(i), Kind(reader.GetDataTypeOID(i))))];

    /// <summary>By the type's OID in pg_type.dat; those of built-in types never change.</summary>
    static ColumnKind Kind(uint type) => type switch
    {
        16 => ColumnKind.Boolean,
        1114 or 1184 => ColumnKind.Time,
        20 or 21 or 23 or 26 or 700 or 701 or 1700 => ColumnKind.Number,
        114 or 3802 => ColumnKind.Json,
        _ => ColumnKind.Plain,
    };

    /// <summary>Writes the value of a column straight into the sink, however long it is. It must not be null.</summary>
    protected void CopyValue(NpgsqlDataReader reader, int column, ColumnKind kind)
    {
        if (kind is ColumnKind.Boolean or ColumnKind.Time)
        {
            Sink.Write(Value(reader, column, kind));
            return;
        }
        for (long offset = 0; ;)
        {
            var room = Sink.Room(4096);
            var count = (int)reader.GetBytes(column, offset, room.Array!, room.Offset, room.Count);
            Sink.Advance(count);
            if (count < room.Count) return;
            offset += count;
        }
    }

    /// <summary>
    /// The complete value of a column as it is shown; valid until the next call. It must not be null.
    /// </summary>
    protected ReadOnlySpan<byte> Value(NpgsqlDataReader reader, int column, ColumnKind kind)
    {
        var used = 0;
        while (true)
        {
            var count = (int)reader.GetBytes(column, used, value, used, value.Length - used);
            used += count;
            if (used < value.Length) break;
            Array.Resize(ref value, value.Length * 2);
        }
        return kind switch
        {
            ColumnKind.Boolean => value[0] == (byte)'t' ? "TRUE"u8 : "FALSE"u8,
            ColumnKind.Time when used <= LongestTime => value.AsSpan(0, IsoTime.Rewrite(value, used)),
            _ => value.AsSpan(0, used),
        };
    }

    /// <summary>A short value as text.</summary>
    internal static string Text(NpgsqlDataReader reader, int column)
    {
        var bytes = new byte[128];
        return System.Text.Encoding.UTF8.GetString(bytes, 0, (int)reader.GetBytes(column, 0, bytes, 0, bytes.Length));
    }

    protected static string Count(long rows) => rows.ToString(CultureInfo.InvariantCulture);
}
