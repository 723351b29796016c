using Capsul.Postgres.Text;

namespace Capsul.Postgres.Statements;

/// <summary>The effect of a statement on its transaction and on the connection.</summary>
public enum StatementKind
{
    /// <summary>Everything else.</summary>
    Plain,
    /// <summary>BEGIN, START TRANSACTION.</summary>
    Begin,
    /// <summary>COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION.</summary>
    EndTransaction,
    /// <summary>… AND CHAIN: another transaction begins immediately.</summary>
    Chain,
    /// <summary>VACUUM and other statements that PostgreSQL refuses inside a transaction.</summary>
    Outside,
    /// <summary>COPY … FROM STDIN.</summary>
    CopyIn,
    /// <summary>COPY … TO STDOUT.</summary>
    CopyOut,
}

/// <summary>The properties of a statement that are known from its text alone.</summary>
/// <param name="Kind">See <see cref="StatementKind"/>.</param>
/// <param name="Tag">The command tag, as far as the words determine it.</param>
/// <param name="WholeTables">All UPDATEs and DELETEs without WHERE, including those in a WITH.</param>
/// <param name="MayChange">False if it can only read: a SELECT without function calls, a setting.</param>
/// <param name="CopyTable">For a COPY … FROM: the table, as written.</param>
/// <param name="Binary">For a COPY: its data is binary.</param>
/// <param name="ReadsCatalog">It refers to the information schema.</param>
/// <param name="IsSetting">SET, SHOW, SAVEPOINT and similar: allowed before SET TRANSACTION.</param>
/// <param name="LeavesTransaction">Its effect is not undone by a rollback: VACUUM and similar, PREPARE TRANSACTION,
/// COPY to a file on the server.</param>
public sealed record StatementShape(
    StatementKind Kind, string Tag, IReadOnlyList<WholeTable> WholeTables,
        bool MayChange, string CopyTable, bool Binary,
    bool ReadsCatalog, bool IsSetting, bool LeavesTransaction)
{
    /// <summary>Number of words at the beginning of a statement that determine its kind.</summary>
    const int FirstWords = 8;

    public static StatementShape Of(SqlStatement sql)
    {
        var words = sql.Words(FirstWords);
        // A dump may have millions of INSERTs, of which only the verb matters.
        var pieces = words is ["INSERT", ..] ? Pieces.None : Pieces.Of(sql.Text);
        var copy = words is ["COPY", ..];
        var kind = KindOf(words, pieces);
        return new StatementShape(kind, CommandTag.Of(words), WholeTable.Find(pieces), CanChange(words, pieces),
            copy ? pieces.Name(1) : "", copy && pieces.Any("BINARY"), pieces.Any("information_schema"), OnlySets(words),
            kind == StatementKind.Outside || words is ["PREPARE", "TRANSACTION", ..]
                || copy && kind == StatementKind.Plain && WritesFile(pieces));
    }

    static StatementKind KindOf(IReadOnlyList<string> words, Pieces pieces) => words switch
    {
        ["BEGIN", ..] or ["START", "TRANSACTION", ..] => StatementKind.Begin,
        ["COMMIT" or "ROLLBACK", "PREPARED"] => StatementKind.Outside,
        ["ROLLBACK", "TO", ..] or ["ROLLBACK", "WORK" or "TRANSACTION", "TO", ..] => StatementKind.Plain,
        ["COMMIT" or "END" or "ROLLBACK" or "ABORT", .., "AND", "CHAIN"] => StatementKind.Chain,
        ["COMMIT" or "END" or "ROLLBACK" or "ABORT", ..] or ["PREPARE", "TRANSACTION", ..] =>
            StatementKind.EndTransaction,
        ["COPY", ..] => Copy(pieces),
        _ => IsOutside(words, pieces) ? StatementKind.Outside : StatementKind.Plain,
    };

    /// <summary>Those that call PreventInTransactionBlock in PostgreSQL's source.</summary>
    static bool IsOutside(IReadOnlyList<string> words, Pieces pieces) => words switch
    {
        ["VACUUM", ..] or ["ALTER", "SYSTEM", ..] or ["DISCARD", "ALL"] => true,
        // Without a table it means all tables.
        ["CLUSTER"] or ["CLUSTER", "VERBOSE"] => pieces.Count == words.Count,
        ["CREATE" or "DROP", "DATABASE" or "TABLESPACE" or "SUBSCRIPTION", ..] => true,
        ["ALTER", "DATABASE", ..] => pieces.Has(3, "SET", "TABLESPACE"),
        ["CREATE", "INDEX", "CONCURRENTLY", ..] or ["CREATE", "UNIQUE", "INDEX", "CONCURRENTLY", ..]
            or ["DROP", "INDEX", "CONCURRENTLY", ..] => true,
        ["REINDEX", ..] => pieces.Any("CONCURRENTLY") || pieces.Any("DATABASE")
            || pieces.Any("SCHEMA") || pieces.Any("SYSTEM"),
        ["ALTER", "TABLE", ..] => pieces.Any("DETACH") && pieces.Any("CONCURRENTLY"),
        _ => false,
    };

    /// <summary>
    /// The first TO or FROM outside parentheses decides; STDIN and STDOUT both mean the connection (gram.y).
    /// </summary>
    static StatementKind Copy(Pieces pieces)
    {
        for (var i = 1; i + 1 < pieces.Count; i++)
        {
            if (pieces.Depth(i) > 0) continue;
            if (pieces.Is(i, "FROM")) return IsConnection(pieces, i + 1) ? StatementKind.CopyIn : StatementKind.Plain;
            if (pieces.Is(i, "TO")) return IsConnection(pieces, i + 1) ? StatementKind.CopyOut : StatementKind.Plain;
        }
        return StatementKind.Plain;
    }

    static bool WritesFile(Pieces pieces) => Enumerable.Range(1, pieces.Count - 1)
        .Any(i => pieces.Depth(i) == 0 && pieces.Is(i, "TO"));

    static bool IsConnection(Pieces pieces, int i) => pieces.Is(i, "STDIN") || pieces.Is(i, "STDOUT");

    /// <summary>Whether it reads and writes nothing, so that the transaction has no snapshot afterwards.</summary>
    static bool OnlySets(IReadOnlyList<string> words) =>
        words is ["SET" or "RESET" or "SHOW" or "SAVEPOINT" or "RELEASE", ..] or ["ROLLBACK", ..];

    static bool CanChange(IReadOnlyList<string> words, Pieces pieces) => words switch
    {
        ["SET" or "RESET" or "SHOW" or "SAVEPOINT" or "RELEASE" or "ROLLBACK"
            or "LISTEN" or "UNLISTEN" or "NOTIFY" or "DECLARE" or "CLOSE" or "DEALLOCATE"
            or "LOCK" or "CHECKPOINT" or "LOAD" or "PREPARE" or "ANALYZE" or "DISCARD", ..] => false,
        [] or ["SELECT" or "VALUES" or "TABLE" or "WITH" or "EXPLAIN" or "FETCH" or "MOVE" or "COPY", ..] =>
            Calls(pieces) || pieces.Any("INSERT") || pieces.Any("UPDATE")
                || pieces.Any("DELETE") || pieces.Any("MERGE"),
        _ => true,
    };

    /// <summary>Whether a name is followed by a parenthesis; what a function does is not known here.</summary>
    static bool Calls(Pieces pieces)
    {
        for (var i = 0; i + 1 < pieces.Count; i++)
        {
            if (pieces.Kind(i) is SqlTokenKind.Word or SqlTokenKind.QuotedName
                && pieces.Kind(i + 1) == SqlTokenKind.Open) return true;
        }
        return false;
    }
}
