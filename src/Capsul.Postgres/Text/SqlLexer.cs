using System.Runtime.InteropServices;

namespace Capsul.Postgres.Text;

/// <summary>The kind of a token. Whitespace and comments are not tokens.</summary>
public enum SqlTokenKind
{
    /// <summary>A keyword or an unquoted name.</summary>
    Word,
    /// <summary>A name in double quotes, U&amp;"…" included.</summary>
    QuotedName,
    /// <summary>'…', E'…', B'…', X'…', N'…', U&amp;'…'.</summary>
    Text,
    /// <summary>$tag$…$tag$.</summary>
    DollarText,
    Number,
    /// <summary>$1</summary>
    Parameter,
    Semicolon,
    Open,
    Close,
    /// <summary>Operators, commas, dots, brackets, casts.</summary>
    Symbol,
}

/// <summary>One token: its position in the text.</summary>
[StructLayout(LayoutKind.Auto)]
public readonly record struct SqlToken(SqlTokenKind Kind, int Start, int Length)
{
    public int End => Start + Length;
}

/// <summary>
/// Reads PostgreSQL's SQL as its own scanner does (src/backend/parser/scan.l, documented in "Lexical Structure"):
/// nested comments, dollar quotes, escapes in E'' only, strings that continue after a line end, operators that end
/// where a comment begins. <c>standard_conforming_strings</c> is assumed to be on, its default since 9.1. An unclosed
/// quote or comment extends to the end of the text, and <see cref="Unclosed"/> says which.
/// </summary>
public sealed class SqlLexer(string text, int position = 0)
{
    /// <summary>Characters of operators.</summary>
    const string OperatorCharacters = "~!@#^&|`?+-*/%<>=";

    public string Text { get; } = text;

    /// <summary>Where the search for the next token starts.</summary>
    public int Position { get; set; } = position;

    /// <summary>
    /// What is unclosed at the end of the text: "comment", "string", "quoted name", "dollar quote"; null if nothing is.
    /// </summary>
    public string? Unclosed { get; private set; }

    /// <summary>The next token, or null at the end.</summary>
    public SqlToken? Next()
    {
        SkipBlank();
        if (Position >= Text.Length) return null;
        var start = Position;
        var kind = Read();
        return new SqlToken(kind, start, Position - start);
    }

    SqlTokenKind Read()
    {
        var c = Text[Position];
        switch (c)
        {
            case '\'':
                return ReadString(escapes: false);
            case '"':
                return ReadQuotedName();
            case '$':
                return ReadDollar();
            case ';':
                return One(SqlTokenKind.Semicolon);
            case '(':
                return One(SqlTokenKind.Open);
            case ')':
                return One(SqlTokenKind.Close);
            case '.' when !char.IsAsciiDigit(At(1)):
                Position += At(1) == '.' ? 2 : 1;
                return SqlTokenKind.Symbol;
            case ':':
                Position += At(1) is ':' or '=' ? 2 : 1;
                return SqlTokenKind.Symbol;
        }
        if (char.IsAsciiDigit(c) || c == '.') return ReadNumber();
        if (IsNameStart(c)) return ReadWord();
        return OperatorCharacters.Contains(c, StringComparison.Ordinal) ? ReadOperator() : One(SqlTokenKind.Symbol);
    }

    SqlTokenKind One(SqlTokenKind kind)
    {
        Position++;
        return kind;
    }

    char At(int offset) => Position + offset < Text.Length ? Text[Position + offset] : '\0';

    /// <summary>Letters, underscore, and everything beyond ASCII, as in PostgreSQL.</summary>
    static bool IsNameStart(char c) => char.IsAsciiLetter(c) || c == '_' || c >= 0x80;

    static bool IsNamePart(char c) => IsNameStart(c) || char.IsAsciiDigit(c) || c == '$';

    static bool IsBlank(char c) => c is ' ' or '\t' or '\n' or '\r' or '\f' or '\v' or '\uFEFF';

    void SkipBlank()
    {
        while (Position < Text.Length)
        {
            if (IsBlank(Text[Position])) Position++;
            else if (Text[Position] == '-' && At(1) == '-') SkipLine();
            else if (Text[Position] == '/' && At(1) == '*') SkipComment();
            else return;
        }
    }

    void SkipLine()
    {
        var end = Text.AsSpan(Position).IndexOfAny('\n', '\r');
        Position = end < 0 ? Text.Length : Position + end;
    }

    /// <summary>Comments nest.</summary>
    void SkipComment()
    {
        var depth = 0;
        while (Position < Text.Length)
        {
            if (Text[Position] == '/' && At(1) == '*')
            {
                depth++;
                Position += 2;
            }
            else if (Text[Position] == '*' && At(1) == '/')
            {
                Position += 2;
                if (--depth == 0) return;
            }
            else Position++;
        }
        Unclosed = "comment";
    }

    /// <summary>
    /// Reads a string from its opening quote. A string continues in the next quote if only whitespace with a newline is
    /// in between.
    /// </summary>
    SqlTokenKind ReadString(bool escapes)
    {
        do
        {
            Position++;
            if (ReadToQuote('\'', escapes)) continue;
            Unclosed = "string";
            break;
        }
        while (GoesOn());
        return SqlTokenKind.Text;
    }

    /// <summary>Moves past the closing quote; false if there is none. A doubled quote is an escaped quote.</summary>
    bool ReadToQuote(char quote, bool escapes)
    {
        while (Position < Text.Length)
        {
            var c = Text[Position++];
            if (c == '\\' && escapes && Position < Text.Length) Position++;
            else if (c == quote && At(0) == quote) Position++;
            else if (c == quote) return true;
        }
        return false;
    }

    bool GoesOn()
    {
        var back = Position;
        var line = false;
        while (Position < Text.Length)
        {
            if (IsBlank(Text[Position]))
            {
                line |= Text[Position] is '\n' or '\r';
                Position++;
            }
            else if (Text[Position] == '-' && At(1) == '-') SkipLine();
            else break;
        }
        if (line && At(0) == '\'') return true;
        Position = back;
        return false;
    }

    SqlTokenKind ReadQuotedName()
    {
        Position++;
        if (!ReadToQuote('"', escapes: false)) Unclosed = "quoted name";
        return SqlTokenKind.QuotedName;
    }

    SqlTokenKind ReadDollar()
    {
        if (char.IsAsciiDigit(At(1)))
        {
            Position++;
            while (char.IsAsciiDigit(At(0))) Position++;
            return SqlTokenKind.Parameter;
        }
        var end = Position + 1;
        while (end < Text.Length && Text[end] != '$'
            && (end == Position + 1 ? IsNameStart(Text[end]) : IsNamePart(Text[end]))) end++;
        if (end >= Text.Length || Text[end] != '$') return One(SqlTokenKind.Symbol);
        var tag = Text[Position..(end + 1)];
        var close = Text.IndexOf(tag, end + 1, StringComparison.Ordinal);
        if (close < 0) Unclosed = "dollar quote";
        Position = close < 0 ? Text.Length : close + tag.Length;
        return SqlTokenKind.DollarText;
    }

    SqlTokenKind ReadNumber()
    {
        while (char.IsAsciiLetterOrDigit(At(0)) || At(0) == '_' || At(0) == '.' && At(1) != '.'
               || At(0) is '+' or '-' && IsExponent()) Position++;
        return SqlTokenKind.Number;
    }

    /// <summary>A sign belongs to a number only after the e of a decimal one.</summary>
    bool IsExponent() => Text[Position - 1] is 'e' or 'E' && char.IsAsciiDigit(At(1))
        && char.IsAsciiDigit(Text[Math.Max(0, Position - 2)]);

    SqlTokenKind ReadWord()
    {
        var first = Text[Position];
        var second = At(1);
        if (second == '\'' && first is 'e' or 'E')
        {
            Position++;
            return ReadString(escapes: true);
        }
        if (second == '\'' && first is 'b' or 'B' or 'x' or 'X' or 'n' or 'N')
        {
            Position++;
            return ReadString(escapes: false);
        }
        if (first is 'u' or 'U' && second == '&' && At(2) is '\'' or '"')
        {
            Position += 2;
            return Text[Position] == '"' ? ReadQuotedName() : ReadString(escapes: false);
        }
        while (Position < Text.Length && IsNamePart(Text[Position])) Position++;
        return SqlTokenKind.Word;
    }

    /// <summary>
    /// As long as possible, but a comment ends it, and "-" or "+" at the end belongs to the next token (as in
    /// <c>*-1</c>).
    /// </summary>
    SqlTokenKind ReadOperator()
    {
        var start = Position;
        while (OperatorCharacters.Contains(At(0), StringComparison.Ordinal) && At(0) != '\0'
               && !(At(0) == '-' && At(1) == '-') && !(At(0) == '/' && At(1) == '*')) Position++;
        var body = Text.AsSpan(start, Position - start);
        if (body.Length > 1 && body.IndexOfAny("~!@#^&|`?%") < 0)
        {
            while (Position - start > 1 && Text[Position - 1] is '+' or '-') Position--;
        }
        return SqlTokenKind.Symbol;
    }
}
