using System.Text;

namespace Capsul.Postgres.Statements;

/// <summary>
/// Statements named by PREPARE and DECLARE: EXECUTE and FETCH contain only the name, but the operator log should show
/// what was done.
/// </summary>
sealed class NamedStatements
{
    readonly Dictionary<string, string> statements = new(StringComparer.Ordinal);

    /// <summary>Remembers the statement if it defines a name.</summary>
    public void Hear(string statement)
    {
        if (statement.AsSpan(0, Math.Min(statement.Length, 7)) is not (['P' or 'p', ..] or ['D' or 'd', ..])) return;
        var pieces = Pieces.Of(statement);
        if (pieces.Is(0, "PREPARE") && !pieces.Is(1, "TRANSACTION") || pieces.Is(0, "DECLARE"))
            statements[Fold(pieces.Name(1))] = statement;
    }

    /// <summary>The statement, preceded by those that it names.</summary>
    public string WithWhatItNames(string statement)
    {
        if (statements.Count == 0) return statement;
        var pieces = Pieces.Of(statement);
        var text = new StringBuilder();
        for (var i = 0; i < pieces.Count; i++)
        {
            if (!pieces.Is(i, "EXECUTE") && !IsCursor(pieces, i)) continue;
            if (statements.TryGetValue(Fold(pieces.Name(pieces.Is(i, "EXECUTE") ? i + 1 : i)), out var named))
                text.Append(named).Append("; ");
        }
        return text.Append(statement).ToString();
    }

    /// <summary>FETCH and MOVE end with the cursor's name; UPDATE and DELETE may have WHERE CURRENT OF.</summary>
    static bool IsCursor(Pieces pieces, int i) =>
        i > 0 && (i == pieces.Count - 1 && (pieces.Is(0, "FETCH") || pieces.Is(0, "MOVE"))
            || pieces.Is(i - 1, "OF") && pieces.Is(i - 2, "CURRENT"));

    static string Fold(string name) => name.StartsWith('"') ? name.Trim('"') : name.ToLowerInvariant();
}
