using Capsul.Postgres.Text;

namespace Capsul.Postgres.Migrations;

/// <summary>A statement for the linter: its tokens in upper case, without parenthesized parts.</summary>
sealed class LintText
{
    readonly List<string> tokens = [];

    public LintText(SqlStatement statement)
    {
        Statement = statement;
        var lexer = new SqlLexer(statement.Text);
        var depth = 0;
        while (lexer.Next() is { } token)
        {
            var text = statement.Text.Substring(token.Start, token.Length);
            if (token.Kind == SqlTokenKind.Close && depth > 0) depth--;
            if (depth == 0) tokens.Add(token.Kind == SqlTokenKind.Word ? text.ToUpperInvariant() : text);
            if (token.Kind == SqlTokenKind.Open) depth++;
            else if (depth > 0 && token.Kind == SqlTokenKind.Word) Inner.Add(text.ToUpperInvariant());
        }
    }

    public SqlStatement Statement { get; }

    /// <summary>Words inside parentheses.</summary>
    public List<string> Inner { get; } = [];

    public bool Starts(params ReadOnlySpan<string> words) => StartsAt(0, words);

    public bool Has(string word) => tokens.Contains(word, StringComparer.Ordinal);

    /// <summary>Whether the words occur consecutively anywhere.</summary>
    public bool HasRow(params ReadOnlySpan<string> words)
    {
        for (var n = 0; n < tokens.Count; n++)
        {
            if (StartsAt(n, words)) return true;
        }
        return false;
    }

    bool StartsAt(int at, ReadOnlySpan<string> words)
    {
        for (var n = 0; n < words.Length; n++)
        {
            if (at + n >= tokens.Count || tokens[at + n] != words[n]) return false;
        }
        return true;
    }

    /// <summary>
    /// The name after <paramref name="word"/>, without schema and in lower case; "" if there is none.
    /// </summary>
    public string NameAfter(string word)
    {
        var at = tokens.IndexOf(word) + 1;
        if (at == 0) return "";
        while (at < tokens.Count && tokens[at] is "IF" or "NOT" or "EXISTS" or "ONLY" or "CONCURRENTLY") at++;
        while (at + 2 < tokens.Count && tokens[at + 1] == ".") at += 2;
        return at < tokens.Count ? tokens[at].Trim('"').ToLowerInvariant() : "";
    }

    /// <summary>The actions of an ALTER TABLE, one by one: <c>ADD COLUMN a text NOT NULL</c>.</summary>
    public IEnumerable<string> Actions()
    {
        var at = tokens.IndexOf("TABLE") + 1;
        while (at < tokens.Count && tokens[at] is "IF" or "EXISTS" or "ONLY") at++;
        while (at + 2 < tokens.Count && tokens[at + 1] == ".") at += 2;
        var action = new List<string>();
        foreach (var token in tokens.Skip(at + 1))
        {
            if (token != ",")
            {
                action.Add(token);
                continue;
            }
            yield return string.Join(' ', action);
            action.Clear();
        }
        yield return string.Join(' ', action);
    }
}
