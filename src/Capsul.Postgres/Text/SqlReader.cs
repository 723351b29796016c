namespace Capsul.Postgres.Text;

/// <summary>
/// Reads statements from a text one by one. Between two of them it can read raw lines, for the data that follows a
/// <c>COPY … FROM STDIN</c> in a dump.
/// </summary>
public sealed class SqlReader(string text)
{
    /// <summary>psql only examines the first words: CREATE [OR REPLACE] FUNCTION.</summary>
    const int WordsToKnowAFunction = 4;

    readonly SqlLexer lexer = new(text);
    int line = 1;
    int counted;

    /// <summary>
    /// What is unclosed at the end of the text, as <see cref="SqlLexer.Unclosed"/>; also "parenthesis" or "BEGIN".
    /// </summary>
    public string? Unclosed { get; private set; }

    /// <summary>
    /// The next statement, or null at the end. The last one needs no semicolon. A line that begins with a backslash is
    /// a statement too.
    /// </summary>
    public SqlStatement? Next()
    {
        int start = -1, end = 0, parentheses = 0, blocks = 0;
        var words = new List<string>(WordsToKnowAFunction);
        while (lexer.Next() is { } token)
        {
            if (token.Kind == SqlTokenKind.Semicolon && parentheses == 0 && blocks == 0)
            {
                if (start >= 0) return Statement(start, end);
                continue;
            }
            if (start < 0)
            {
                start = token.Start;
                if (text[start] == '\\') return BackslashCommand(start);
            }
            end = token.End;
            if (token.Kind == SqlTokenKind.Open) parentheses++;
            else if (token.Kind == SqlTokenKind.Close && parentheses > 0) parentheses--;
            else if (token.Kind == SqlTokenKind.Word)
                blocks = Blocks(words, text.AsSpan(token.Start, token.Length), parentheses, blocks);
        }
        Unclosed ??= lexer.Unclosed ?? (parentheses > 0 ? "parenthesis" : blocks > 0 ? "BEGIN" : null);
        return start < 0 ? null : Statement(start, end);
    }

    /// <summary>
    /// Where the search for the next statement starts, or the start of the next line after <see cref="SkipLine"/>.
    /// </summary>
    public int Position => lexer.Position;

    /// <summary>Skips the rest of the current line; does nothing at the start of a line.</summary>
    public void SkipLine()
    {
        var from = lexer.Position;
        if (from == 0 || text[from - 1] == '\n') return;
        var rest = text.IndexOf('\n', from);
        lexer.Position = rest < 0 ? text.Length : rest + 1;
    }

    /// <summary>Skips the rest of the current line; returns the next whole line, or null at the end.</summary>
    public string? NextLine()
    {
        SkipLine();
        var from = lexer.Position;
        if (from >= text.Length) return null;
        var end = text.IndexOf('\n', from);
        lexer.Position = end < 0 ? text.Length : end + 1;
        return text[from..(end < 0 ? text.Length : end)].TrimEnd('\r');
    }

    /// <summary>How many BEGIN ATOMIC and CASE are open after this word.</summary>
    static int Blocks(List<string> words, ReadOnlySpan<char> word, int parentheses, int blocks)
    {
        if (words.Count < WordsToKnowAFunction) words.Add(word.ToString().ToUpperInvariant());
        if (!IsFunction(words) || parentheses > 0) return blocks;
        if (word.Equals("BEGIN", StringComparison.OrdinalIgnoreCase)) return blocks + 1;
        if (word.Equals("CASE", StringComparison.OrdinalIgnoreCase) && blocks > 0) return blocks + 1;
        return word.Equals("END", StringComparison.OrdinalIgnoreCase) && blocks > 0 ? blocks - 1 : blocks;
    }

    /// <summary>A psql command ends with its line.</summary>
    SqlStatement BackslashCommand(int start)
    {
        var end = text.IndexOf('\n', start);
        lexer.Position = end < 0 ? text.Length : end;
        return Statement(start, start + text.AsSpan(start, lexer.Position - start).TrimEnd().Length);
    }

    static bool IsFunction(List<string> words) => words is ["CREATE", "FUNCTION" or "PROCEDURE", ..]
        or ["CREATE", "OR", "REPLACE", "FUNCTION" or "PROCEDURE", ..];

    SqlStatement Statement(int start, int end)
    {
        line += text.AsSpan(counted, start - counted).Count('\n');
        counted = start;
        return new SqlStatement(text[start..end], start, line);
    }
}
