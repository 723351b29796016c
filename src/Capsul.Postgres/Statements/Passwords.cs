using System.Text;
using Capsul.Postgres.Text;

namespace Capsul.Postgres.Statements;

/// <summary>
/// Removes passwords from statements before they are stored, and nothing else: the statement stays readable.
/// </summary>
public static class Passwords
{
    const string Hidden = "'(hidden)'";

    /// <summary>
    /// Every literal after PASSWORD or CONNECTION becomes '(hidden)', also inside strings and dollar quotes that
    /// contain SQL, and where a statement is assembled from parts: <c>'… PASSWORD ' || 'x'</c>, <c>format('… PASSWORD
    /// %L', 'x')</c>.
    /// </summary>
    public static string Hide(string statement)
    {
        if (!Mentions(statement)) return statement;
        var pieces = Pieces.Of(statement);
        var kept = new StringBuilder(statement.Length);
        var copied = 0;
        var pending = false;
        for (var i = 0; i < pieces.Count; i++)
        {
            if (pieces.Kind(i) == SqlTokenKind.Semicolon) pending = false;
            if (pieces.Kind(i) is not (SqlTokenKind.Text or SqlTokenKind.DollarText)) continue;
            var literal = pieces.Text(i).ToString();
            var instead = pending || IsPassword(pieces, i) ? Hidden : Mentions(literal)
                ? HideInside(literal, out pending) : literal;
            kept.Append(statement, copied, pieces[i].Start - copied).Append(instead);
            copied = pieces[i].End;
        }
        return kept.Append(statement, copied, statement.Length - copied).ToString();
    }

    static bool Mentions(string text) =>
        text.Contains("PASSWORD", StringComparison.OrdinalIgnoreCase)
            || text.Contains("CONNECTION", StringComparison.OrdinalIgnoreCase);

    /// <summary>
    /// PASSWORD 'x', password = 'x', PASSWORD := 'x', CONNECTION 'x', and a column or option called password_….
    /// </summary>
    static bool IsPassword(Pieces pieces, int i)
    {
        var before = i - 1;
        if (before >= 0 && pieces.Kind(before) == SqlTokenKind.Symbol && pieces.Text(before) is "=" or ":=" or "=>")
            before--;
        return before >= 0 && pieces.Kind(before) is SqlTokenKind.Word or SqlTokenKind.QuotedName
            && (pieces.Text(before).Contains("password", StringComparison.OrdinalIgnoreCase)
                || pieces.Is(before, "CONNECTION"));
    }

    /// <param name="literal">Including its quotes.</param>
    /// <param name="awaits">Its text ends where the password would begin: the next literals of the statement are the
    /// password.</param>
    static string HideInside(string literal, out bool awaits)
    {
        var quoted = Literal.Open(literal);
        var hidden = Hide(quoted.Text);
        awaits = Awaits(quoted.Text);
        return hidden == quoted.Text ? literal : quoted.Close(hidden);
    }

    /// <summary>
    /// Whether the last PASSWORD is followed by nothing, an opening quote, or a placeholder of format().
    /// </summary>
    static bool Awaits(string text)
    {
        const string word = "PASSWORD";
        var at = text.LastIndexOf(word, StringComparison.OrdinalIgnoreCase);
        if (at < 0) return false;
        var rest = text.AsSpan(at + word.Length);
        var behind = rest.TrimStart();
        return rest.Length > 0 && (behind.IsEmpty || behind is "'" or "= '" || behind[0] == '%');
    }

    /// <summary>A literal split into its quotes and its text.</summary>
    readonly record struct Literal(string Text, Func<string, string> Close)
    {
        public static Literal Open(string literal)
        {
            if (literal[0] == '$')
            {
                var tag = literal.IndexOf('$', 1) + 1;
                return literal.Length < 2 * tag ? new(literal, t => t)
                    : new(literal[tag..^tag], t => $"{literal[..tag]}{t}{literal[^tag..]}");
            }
            var quote = literal.IndexOf('\'', StringComparison.Ordinal);
            if (quote < 0 || literal.Length < quote + 2) return new(literal, t => t);
            var inner = literal[(quote + 1)..^1];
            if (literal[0] is not ('e' or 'E'))
                return new(inner.Replace("''", "'", StringComparison.Ordinal), t =>
                literal[..(quote + 1)] + Double(t) + "'");
            return new(Unescape(inner), t => "E'" + Double(t.Replace(@"\", @"\\", StringComparison.Ordinal)) + "'");
        }

        static string Double(string text) => text.Replace("'", "''", StringComparison.Ordinal);

        static string Unescape(string inner)
        {
            var text = new StringBuilder(inner.Length);
            for (var i = 0; i < inner.Length; i++)
            {
                if (i + 1 < inner.Length && (inner[i] == '\\' || inner[i] == '\'' && inner[i + 1] == '\''))
                    text.Append(inner[++i] switch { 'n' => '\n', 't' => '\t', 'r' => '\r', var c => c });
                else text.Append(inner[i]);
            }
            return text.ToString();
        }
    }
}
