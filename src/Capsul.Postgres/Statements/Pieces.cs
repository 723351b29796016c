using System.Text;
using Capsul.Postgres.Text;

namespace Capsul.Postgres.Statements;

/// <summary>The tokens of one statement, with the nesting depth of each.</summary>
public sealed class Pieces
{
    readonly string text;
    readonly List<(SqlToken Token, int Depth)> tokens = [];

    Pieces(string text) => this.text = text;

    /// <summary>No tokens.</summary>
    public static Pieces None { get; } = new("");

    public static Pieces Of(string text)
    {
        var pieces = new Pieces(text);
        var lexer = new SqlLexer(text);
        var depth = 0;
        while (lexer.Next() is { } token)
        {
            if (token.Kind == SqlTokenKind.Close) depth--;
            pieces.tokens.Add((token, depth));
            if (token.Kind == SqlTokenKind.Open) depth++;
        }
        return pieces;
    }

    public int Count => tokens.Count;

    public SqlTokenKind Kind(int index) => tokens[index].Token.Kind;

    /// <summary>How many parentheses are open around it; a parenthesis itself counts as outside.</summary>
    public int Depth(int index) => tokens[index].Depth;

    public SqlToken this[int index] => tokens[index].Token;

    public ReadOnlySpan<char> Text(int index) => text.AsSpan(tokens[index].Token.Start, tokens[index].Token.Length);

    /// <summary>Whether it is this word, case-insensitively.</summary>
    public bool Is(int index, string word) =>
        index >= 0 && index < tokens.Count && tokens[index].Token.Kind == SqlTokenKind.Word
            && Text(index).Equals(word, StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether these words follow each other from <paramref name="index"/> on.</summary>
    public bool Has(int index, params ReadOnlySpan<string> words)
    {
        for (var i = 0; i < words.Length; i++)
        {
            if (!Is(index + i, words[i])) return false;
        }
        return true;
    }

    /// <summary>Whether the word occurs anywhere.</summary>
    public bool Any(string word) => Enumerable.Range(0, tokens.Count).Any(i => Is(i, word));

    /// <summary>The name at this position: table, schema.table, "quoted".table; "" if there is none.</summary>
    public string Name(int index)
    {
        var name = new StringBuilder();
        for (; index < Count; index++)
        {
            var dot = Kind(index) == SqlTokenKind.Symbol && Text(index) is ".";
            if (!dot && Kind(index) is not (SqlTokenKind.Word or SqlTokenKind.QuotedName)) break;
            // Two names without a dot: the second is an alias or the next word.
            if (!dot && name.Length > 0 && name[^1] != '.') break;
            name.Append(Text(index));
        }
        return name.ToString();
    }
}
