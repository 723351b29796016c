using System.Security.Cryptography;
using System.Text;

namespace Capsul.Postgres.Text;

/// <summary>One statement of a longer text, without its semicolon and without comments before it.</summary>
/// <param name="Text">From the first token to the last.</param>
/// <param name="Start">Offset of the first token in the whole text.</param>
/// <param name="Line">Line of that token, from 1.</param>
public sealed record SqlStatement(string Text, int Start, int Line)
{
    /// <summary>Offset after the last token, in the whole text.</summary>
    public int End => Start + Text.Length;

    /// <summary>
    /// The first words in upper case, at most <paramref name="count"/>: <c>CREATE INDEX CONCURRENTLY</c>. Stops at
    /// anything that is not a word.
    /// </summary>
    public IReadOnlyList<string> Words(int count)
    {
        var lexer = new SqlLexer(Text);
        var words = new List<string>();
        while (words.Count < count && lexer.Next() is { Kind: SqlTokenKind.Word } word)
            words.Add(Text.Substring(word.Start, word.Length).ToUpperInvariant());
        return words;
    }
}

/// <summary>Analyzes SQL text without a server: its statements, and whether two texts mean the same.</summary>
public static class SqlText
{
    /// <summary>
    /// The statements of a text, lazily. They end at semicolons outside parentheses and outside the <c>BEGIN ATOMIC …
    /// END</c> body of a function, by the same rule as psql (psqlscan.l). Empty statements are left out.
    /// </summary>
    public static IEnumerable<SqlStatement> Split(string text)
    {
        var reader = new SqlReader(text);
        while (reader.Next() is { } statement)
            yield return statement;
    }

    /// <summary>
    /// SHA-256 over the tokens, as hex. Comments, whitespace, line ends and the case of unquoted words do not count;
    /// everything else does.
    /// </summary>
    public static string Checksum(string text)
    {
        var canonical = new StringBuilder(text.Length);
        var lexer = new SqlLexer(text);
        while (lexer.Next() is { } token)
        {
            var piece = text.AsSpan(token.Start, token.Length);
            foreach (var c in piece)
            {
                // Line ends inside strings and function bodies are normalized, since editors differ.
                if (c == '\r') continue;
                canonical.Append(token.Kind == SqlTokenKind.Word ? char.ToLowerInvariant(c) : c);
            }
            canonical.Append('\0');
        }
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(canonical.ToString())));
    }

    /// <summary>Line and column of an offset, both from 1; columns count characters.</summary>
    public static (int Line, int Column) Place(string text, int offset)
    {
        var before = text.AsSpan(0, Math.Min(offset, text.Length));
        return (before.Count('\n') + 1, before.Length - before.LastIndexOf('\n'));
    }
}
