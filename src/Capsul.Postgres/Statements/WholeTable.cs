using Capsul.Postgres.Text;

namespace Capsul.Postgres.Statements;

/// <summary>An UPDATE or DELETE without WHERE, or a TRUNCATE: it affects every row.</summary>
/// <param name="Verb">UPDATE, DELETE or TRUNCATE.</param>
/// <param name="Table">As written, without ONLY.</param>
public sealed record WholeTable(string Verb, string Table)
{
    /// <summary>The beginning of a confirmation prompt.</summary>
    public string Says => Verb == "TRUNCATE" ? "TRUNCATE deletes" : $"{Verb} without WHERE changes";

    /// <summary>
    /// Those of one statement: its own, and those in WITH, EXPLAIN, PREPARE and COPY. Function bodies are not examined.
    /// </summary>
    public static IReadOnlyList<WholeTable> Find(Pieces pieces)
    {
        if (pieces.Is(0, "TRUNCATE")) return [new WholeTable("TRUNCATE", Name(pieces, pieces.Is(1, "TABLE") ? 2 : 1))];
        if (pieces.Count == 0 || !Begins(pieces)) return [];
        var found = new List<WholeTable>();
        for (var i = 0; i < pieces.Count; i++)
        {
            if ((pieces.Is(i, "UPDATE") || pieces.Is(i, "DELETE")) && IsVerb(pieces, i) && !HasWhere(pieces, i))
                found.Add(new WholeTable(pieces.Text(i).ToString().ToUpperInvariant(), Name(pieces, i + 1)));
        }
        return found;
    }

    static bool Begins(Pieces pieces) =>
        pieces.Is(0, "UPDATE") || pieces.Is(0, "DELETE") || pieces.Is(0, "WITH")
            || pieces.Is(0, "EXPLAIN") || pieces.Is(0, "PREPARE") || pieces.Is(0, "COPY");

    /// <summary>
    /// Excludes FOR UPDATE, ON DELETE, DO UPDATE, THEN DELETE: the verb must begin the statement, or follow a WITH.
    /// </summary>
    static bool IsVerb(Pieces pieces, int i)
    {
        if (i == 0) return true;
        // WITH x AS (…) UPDATE; PREPARE p (int) UPDATE is PREPARE p (int) AS UPDATE; EXPLAIN (ANALYZE) UPDATE
        if (pieces.Kind(i - 1) == SqlTokenKind.Close)
            return pieces.Is(0, "WITH") || pieces.Is(0, "EXPLAIN") || pieces.Is(0, "PREPARE");
        if (pieces.Kind(i - 1) == SqlTokenKind.Open)
            return i >= 2 && (pieces.Is(i - 2, "AS") || pieces.Is(i - 2, "MATERIALIZED") || pieces.Is(i - 2, "COPY"));
        return pieces.Is(0, "EXPLAIN") && i <= 3
            && (pieces.Is(i - 1, "EXPLAIN") || pieces.Is(i - 1, "ANALYZE") || pieces.Is(i - 1, "VERBOSE"))
            || pieces.Is(0, "PREPARE") && pieces.Is(i - 1, "AS");
    }

    static bool HasWhere(Pieces pieces, int verb)
    {
        var depth = pieces.Depth(verb);
        for (var i = verb + 1; i < pieces.Count && pieces.Depth(i) >= depth; i++)
        {
            if (pieces.Depth(i) == depth && pieces.Is(i, "WHERE")) return true;
        }
        return false;
    }

    static string Name(Pieces pieces, int i)
    {
        if (pieces.Is(i, "FROM")) i++;
        if (pieces.Is(i, "ONLY")) i++;
        if (i < pieces.Count && pieces.Kind(i) == SqlTokenKind.Open) i++;
        return pieces.Name(i);
    }
}
