using System.Text;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>
/// Aligned columns, for people. The widths are those of the first thousand rows, to limit memory; a wider value later
/// shifts its line to the right. Line ends and tabs inside a value are shown as \n and \t.
/// </summary>
public sealed class TableOutput(ByteSink sink) : RowOutput(sink)
{
    const int Measured = 1000;

    /// <summary>Spaces, and the line under the header.</summary>
    const int WidestColumn = 200;

    readonly List<string[]> waiting = [];
    IReadOnlyList<ResultColumn> columns = [];
    int[]? widths;
    bool second;

    protected override void Begin(IReadOnlyList<ResultColumn> columns)
    {
        if (second) Sink.Write("\n"u8);
        second = true;
        (this.columns, widths) = (columns, null);
    }

    protected override void Row(NpgsqlDataReader reader, IReadOnlyList<ResultColumn> columns)
    {
        var cells = new string[columns.Count];
        for (var i = 0; i < cells.Length; i++) cells[i] = reader.IsDBNull(i)
            ? "NULL" : Visible(Encoding.UTF8.GetString(Value(reader, i, columns[i].Kind)));
        if (widths is not null)
        {
            Line(cells);
            return;
        }
        waiting.Add(cells);
        if (waiting.Count == Measured) WriteWaiting();
    }

    protected override void End(long rows)
    {
        if (widths is null) WriteWaiting();
        Sink.Write(rows == 1 ? "(1 row)\n" : $"({Count(rows)} rows)\n");
    }

    void WriteWaiting()
    {
        var names = columns.Select(c => Visible(c.Name)).ToArray();
        widths = [.. names.Select((n, i) =>
            Math.Min(WidestColumn, waiting.Select(c => TextWidth.Of(c[i])).Append(TextWidth.Of(n)).Max()))];
        Line(names);
        Sink.Write(string.Join("-+-", widths.Select(w => new string('-', w))));
        Sink.Write("\n"u8);
        foreach (var cells in waiting) Line(cells);
        waiting.Clear();
    }

    void Line(string[] cells)
    {
        var line = new StringBuilder();
        for (var i = 0; i < cells.Length; i++)
        {
            if (i > 0) line.Append(" | ");
            var blanks = Math.Max(0, widths![i] - TextWidth.Of(cells[i]));
            if (columns[i].Kind == ColumnKind.Number) line.Append(' ', blanks).Append(cells[i]);
            else line.Append(cells[i]).Append(' ', i + 1 < cells.Length ? blanks : 0);
        }
        Sink.Write(line.Append('\n').ToString());
    }

    static string Visible(string text) => text.Replace("\r", "\\r", StringComparison.Ordinal)
        .Replace("\n", "\\n", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal);
}
