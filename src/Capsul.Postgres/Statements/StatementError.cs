using System.Text;
using Capsul.Postgres.Text;
using Npgsql;

namespace Capsul.Postgres.Statements;

/// <summary>
/// The server rejected a statement or its transaction; the message, of several lines, is for the person who typed it.
/// </summary>
public sealed class StatementException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>Formats a server error for a statement, with the line and a caret under the position.</summary>
public static class StatementError
{
    /// <summary>Maximum width of a shown line of SQL; of a longer one, the part around the position is shown.</summary>
    const int Widest = 120;

    /// <param name="statement">The statement that failed.</param>
    /// <param name="error">The server's error.</param>
    /// <param name="advice">Further lines, such as the fate of the transaction.</param>
    public static string Explain(ScriptStatement statement, PostgresException error, params IEnumerable<string?> advice)
    {
        var text = new StringBuilder();
        var (line, caret) = error.Position > 0 ? Place(statement.Sql, error.Position) : (statement.Sql.Line, null);
        text.Append(statement.Place(line)).Append(": ").AppendLine(error.MessageText);
        if (caret is not null) text.AppendLine(caret);
        // For a rejected ALTER ROLE … PASSWORD these contain no quotation.
        Add(text, "DETAIL", error.Detail);
        Add(text, "HINT", error.Hint);
        Add(text, "QUERY", error.InternalQuery);
        Add(text, "CONTEXT", error.Where);
        foreach (var more in advice.Where(a => a is not null)) text.AppendLine(more);
        return text.ToString().TrimEnd();
    }

    /// <summary>Line in the part, and the line of SQL with a caret below it.</summary>
    /// <param name="sql">The statement.</param>
    /// <param name="position">In characters (not UTF-16 code units) of the statement, from 1.</param>
    static (int Line, string Caret) Place(SqlStatement sql, int position)
    {
        var offset = 0;
        for (var n = 1; n < position && offset < sql.Text.Length; n++) offset += char.IsHighSurrogate(sql.Text[offset])
            ? 2 : 1;
        offset = Math.Min(offset, sql.Text.Length);
        var (line, column) = SqlText.Place(sql.Text, offset);
        var start = offset - (column - 1);
        var end = sql.Text.IndexOf('\n', start);
        var shown = sql.Text[start..(end < 0 ? sql.Text.Length : end)].TrimEnd('\r');
        return (sql.Line + line - 1, Caret(shown, Math.Min(column - 1, shown.Length)));
    }

    static string Caret(string line, int at)
    {
        var (before, after) = ("", "");
        if (line.Length > Widest)
        {
            var from = Math.Clamp(at - Widest / 2, 0, line.Length - Widest);
            var to = from + Widest;
            if (from > 0 && char.IsLowSurrogate(line[from])) from--;
            if (to < line.Length && char.IsLowSurrogate(line[to])) to++;
            (before, after) = (from > 0 ? "…" : "", to < line.Length ? "…" : "");
            (line, at) = (line[from..to], at - from);
        }
        var blanks = new StringBuilder(before.Length > 0 ? " " : "");
        foreach (var rune in line[..at].EnumerateRunes())
            blanks.Append(rune.Value == '\t' ? "\t" : new string(' ', TextWidth.Of(rune)));
        return $"{before}{line}{after}\n{blanks}^";
    }

    static void Add(StringBuilder text, string what, string? says)
    {
        if (!string.IsNullOrEmpty(says)) text.Append(what).Append(":  ").AppendLine(says);
    }
}
