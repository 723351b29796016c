namespace Capsul.Postgres.Statements;

/// <summary>
/// PostgreSQL's command tag, from the words of the statement: Npgsql keeps the tags of statements that count rows and
/// drops the others. The list is that of src/include/tcop/cmdtaglist.h; tests compare with psql's output.
/// </summary>
public static class CommandTag
{
    /// <summary>Also of CREATE TABLE … AS, with the number of rows.</summary>
    public const string Select = "SELECT";

    /// <summary>Words between the verb and the kind of object.</summary>
    static readonly HashSet<string> Between = new(StringComparer.Ordinal)
    {
        "OR", "REPLACE", "TEMP", "TEMPORARY", "LOCAL", "GLOBAL", "UNLOGGED",
            "UNIQUE", "RECURSIVE", "CONSTRAINT", "TRUSTED", "PROCEDURAL", "DEFAULT",
    };

    /// <summary>Kinds of objects whose names have more than one word.</summary>
    static readonly string[][] LongNames =
    [
        ["ACCESS", "METHOD"], ["DEFAULT", "PRIVILEGES"], ["EVENT", "TRIGGER"],
            ["FOREIGN", "DATA", "WRAPPER"], ["FOREIGN", "TABLE"], ["LARGE", "OBJECT"],
        ["MATERIALIZED", "VIEW"], ["OPERATOR", "CLASS"], ["OPERATOR", "FAMILY"],
            ["TEXT", "SEARCH", "CONFIGURATION"], ["TEXT", "SEARCH", "DICTIONARY"],
        ["TEXT", "SEARCH", "PARSER"], ["TEXT", "SEARCH", "TEMPLATE"], ["USER", "MAPPING"],
    ];

    /// <param name="words">The first words of the statement, in upper case.</param>
    public static string Of(IReadOnlyList<string> words) => words switch
    {
        [] => "",
        ["BEGIN", ..] => "BEGIN",
        ["START", ..] => "START TRANSACTION",
        ["END", ..] => "COMMIT",
        ["ABORT", ..] => "ROLLBACK",
        ["COMMIT" or "ROLLBACK", "PREPARED", ..] => $"{words[0]} PREPARED",
        ["PREPARE", "TRANSACTION", ..] => "PREPARE TRANSACTION",
        ["ANALYSE", ..] => "ANALYZE",
        ["CLOSE", "ALL"] => "CLOSE CURSOR ALL",
        ["CLOSE", ..] => "CLOSE CURSOR",
        ["DECLARE", ..] => "DECLARE CURSOR",
        ["DEALLOCATE", "ALL"] or ["DEALLOCATE", "PREPARE", "ALL"] => "DEALLOCATE ALL",
        ["DISCARD", "TEMPORARY"] => "DISCARD TEMP",
        ["DISCARD", var what, ..] => $"DISCARD {what}",
        ["GRANT" or "REVOKE", ..] => Grant(words),
        ["IMPORT", ..] => "IMPORT FOREIGN SCHEMA",
        ["LOCK", ..] => "LOCK TABLE",
        ["REASSIGN", ..] => "REASSIGN OWNED",
        ["REFRESH", ..] => "REFRESH MATERIALIZED VIEW",
        ["SECURITY", ..] => "SECURITY LABEL",
        ["SET", "CONSTRAINTS", ..] => "SET CONSTRAINTS",
        ["TRUNCATE", ..] => "TRUNCATE TABLE",
        ["CREATE" or "ALTER" or "DROP", ..] => Thing(words),
        _ => words[0],
    };

    /// <summary>A privilege is followed by ON or is ALL; otherwise it is a role.</summary>
    static string Grant(IReadOnlyList<string> words) =>
        words.Contains("ON", StringComparer.Ordinal) || words.Skip(1)
            .Any(w => w is "SELECT" or "INSERT" or "UPDATE" or "DELETE"
            or "ALL" or "EXECUTE" or "USAGE" or "REFERENCES")
            ? words[0] : $"{words[0]} ROLE";

    static string Thing(IReadOnlyList<string> words)
    {
        for (var i = 1; i < words.Count; i++)
        {
            if (LongNames.FirstOrDefault(n => words.Skip(i).Take(n.Length)
                .SequenceEqual(n, StringComparer.Ordinal)) is { } name)
                return $"{words[0]} {string.Join(' ', name)}";
            if (Between.Contains(words[i])) continue;
            var thing = words[i] switch
            {
                "USER" or "GROUP" => "ROLE",
                var other => other,
            };
            return words[0] == "ALTER" && thing == "TABLE" && words.Contains("RENAME", StringComparer.Ordinal)
                ? "ALTER TABLE" : $"{words[0]} {thing}";
        }
        return words[0];
    }
}
