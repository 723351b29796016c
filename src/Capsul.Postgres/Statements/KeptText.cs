using System.Globalization;
using System.Text;
using Capsul.Postgres.Text;

namespace Capsul.Postgres.Statements;

/// <summary>
/// A statement as stored in the operator log: without passwords and without comments, which could push the relevant
/// part past the length limit; if it is still too long, long literals are shortened first, and then the middle is left
/// out.
/// </summary>
public static class KeptText
{
    /// <summary>Maximum length of a stored statement, characters.</summary>
    public const int Most = 100_000;

    /// <summary>
    /// In a statement that is too long, literals longer than the first are shortened to the second number of
    /// characters.
    /// </summary>
    const int LongLiteral = 1_000, ShownOfLiteral = 200;

    public static string Of(string statement)
    {
        var kept = WithoutComments(Passwords.Hide(statement));
        if (kept.Length > Most) kept = ShortenLiterals(kept);
        return kept.Length > Most ? CutMiddle(kept) : kept;
    }

    /// <summary>Replaces comments with a space or a line end.</summary>
    static string WithoutComments(string statement) => Rewrite(statement, (_, token) => token);

    static string ShortenLiterals(string statement)
    {
        // The body of a DO counts as part of the statement.
        var isBody = new SqlStatement(statement, 0, 1).Words(1) is ["DO"];
        return Rewrite(statement, (kind, token) => token.Length <= LongLiteral ? token : kind switch
        {
            SqlTokenKind.DollarText when isBody && Inner(token) is var (tag, body) =>
                $"{tag}{ShortenLiterals(WithoutComments(body))}{tag}",
            SqlTokenKind.Text or SqlTokenKind.DollarText or SqlTokenKind.QuotedName =>
                $"{token[..ShownOfLiteral]}{Left(token.Length - ShownOfLiteral)}",
            _ => token,
        });
    }

    static (string Tag, string Body) Inner(string quoted)
    {
        var tag = quoted[..(quoted.IndexOf('$', 1) + 1)];
        return (tag, quoted.Length < 2 * tag.Length ? "" : quoted[tag.Length..^tag.Length]);
    }

    static string CutMiddle(string statement) =>
        $"{statement[..(Most / 2)].TrimEnd()}{Left(statement.Length - Most)}{statement[^(Most / 2)..]}";

    static string Left(int count) => string.Create(CultureInfo.InvariantCulture, $" … ({count} more characters) … ");

    /// <summary>
    /// Rewrites token by token; text between tokens is kept, except for comments and long runs of whitespace.
    /// </summary>
    static string Rewrite(string statement, Func<SqlTokenKind, string, string> write)
    {
        const int longGap = 200;
        var kept = new StringBuilder(Math.Min(statement.Length, 2 * Most));
        var lexer = new SqlLexer(statement);
        var end = 0;
        while (lexer.Next() is { } token)
        {
            var gap = statement.AsSpan(end, token.Start - end);
            if (gap.Length <= longGap && gap.IndexOf("--") < 0 && gap.IndexOf("/*") < 0) kept.Append(gap);
            else if (kept.Length > 0) kept.Append(gap.Contains('\n') ? '\n' : ' ');
            kept.Append(write(token.Kind, statement.Substring(token.Start, token.Length)));
            end = token.End;
        }
        return kept.ToString();
    }
}
