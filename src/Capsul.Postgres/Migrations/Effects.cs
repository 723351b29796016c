using Capsul.Postgres.Text;
using Dapper;
using Npgsql;

namespace Capsul.Postgres.Migrations;

/// <summary>The effect of a statement whose outcome was not recorded.</summary>
public enum Effect
{
    /// <summary>Nothing, or nothing that would prevent running it again.</summary>
    Absent,
    /// <summary>It took effect completely.</summary>
    There,
    /// <summary>An invalid index, to be dropped and rebuilt.</summary>
    Half,
    /// <summary>It cannot be determined.</summary>
    Unknown,
}

/// <summary>Statements that cannot run in a transaction, and how to determine the outcome of one.</summary>
static class Effects
{
    /// <summary>
    /// Whether a statement is known to be impossible in a transaction. Others are found when they are run.
    /// </summary>
    public static bool RunsAlone(string statement)
    {
        var words = Words(statement);
        return words[0] is "VACUUM"
            || (words[0] is not "REFRESH" && words.Contains("CONCURRENTLY", StringComparer.Ordinal));
    }

    /// <summary>The effect of a recorded statement that is not done.</summary>
    public static async Task<Effect> OfAsync(
        NpgsqlConnection connection, RecordedStatement statement, CancellationToken cancel)
    {
        // It was in one transaction with the outcome "done": without that, it had no effect.
        if (!statement.Alone) return Effect.Absent;
        if (IndexOf(statement.Statement) is { } index)
        {
            var whole = await connection.ExecuteScalarAsync<bool?>(
                new CommandDefinition(MigratorSql.IndexIsWhole, new { name = index }, cancellationToken: cancel));
            if (Words(statement.Statement)[0] == "DROP") return whole is null ? Effect.There : Effect.Absent;
            return whole switch { null => Effect.Absent, true => Effect.There, false => Effect.Half };
        }
        if (Words(statement.Statement)[0] is "VACUUM" or "REINDEX" or "ANALYZE") return Effect.Absent;
        // The server reported a failure, and a statement is atomic.
        return statement.Outcome == "failed" ? Effect.Absent : Effect.Unknown;
    }

    /// <summary>
    /// The name in CREATE [UNIQUE] INDEX CONCURRENTLY [IF NOT EXISTS] name, and in DROP INDEX CONCURRENTLY [IF EXISTS]
    /// name; null for other statements.
    /// </summary>
    public static string? IndexOf(string statement)
    {
        var lexer = new SqlLexer(statement);
        var words = new List<string>();
        while (lexer.Next() is { } token)
        {
            var text = statement.Substring(token.Start, token.Length);
            var word = token.Kind == SqlTokenKind.Word ? text.ToUpperInvariant() : "";
            if (word is "CREATE" or "UNIQUE" or "INDEX" or "CONCURRENTLY" or "DROP" or "IF" or "NOT" or "EXISTS")
                words.Add(word);
            else if (words is not (["CREATE", "UNIQUE" or "INDEX", ..] or ["DROP", "INDEX", ..])
                || !words.Contains("CONCURRENTLY", StringComparer.Ordinal) || word == "ON") return null;
            else return QualifiedName(statement, lexer, text);
        }
        return null;
    }

    static string QualifiedName(string statement, SqlLexer lexer, string name)
    {
        while (lexer.Next() is { Kind: SqlTokenKind.Symbol } dot && statement[dot.Start] == '.'
            && lexer.Next() is { } part)
            name += "." + statement.Substring(part.Start, part.Length);
        return name;
    }

    /// <summary>All words outside parentheses, upper case; at least one.</summary>
    static List<string> Words(string statement)
    {
        var lexer = new SqlLexer(statement);
        var words = new List<string>();
        var depth = 0;
        while (lexer.Next() is { } token)
        {
            if (token.Kind == SqlTokenKind.Open) depth++;
            else if (token.Kind == SqlTokenKind.Close) depth--;
            else if (token.Kind == SqlTokenKind.Word && depth == 0)
                words.Add(statement.Substring(token.Start, token.Length).ToUpperInvariant());
        }
        return words.Count > 0 ? words : [""];
    }
}
