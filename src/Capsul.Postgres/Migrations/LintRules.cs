using System.Text.RegularExpressions;

namespace Capsul.Postgres.Migrations;

/// <summary>A rule that a statement breaks.</summary>
/// <param name="Error">It loses data, or fails; otherwise it blocks others, or may surprise.</param>
sealed record LintBreach(string Rule, bool Error, string Says, string Instead);

/// <summary>
/// The effects of a statement on a database in use. The locks are those of PostgreSQL's manual, "Explicit Locking" and
/// "ALTER TABLE". A table that the same script creates is empty and not yet in use, so most rules do not apply to it.
/// </summary>
static partial class LintRules
{
    /// <summary>Rules for up scripts.</summary>
    /// <param name="made">Tables that this script has created before this statement.</param>
    public static IEnumerable<LintBreach> Of(LintText s, IReadOnlySet<string> made)
    {
        if (s.Starts("ALTER", "TABLE"))
            return made.Contains(s.NameAfter("TABLE")) ? [] : s.Actions().SelectMany(a => OfAction(a, s));
        return Loss(s, made).Concat(Locks(s, made)).Concat(Sessions(s));
    }

    /// <summary>Rules for every script.</summary>
    public static IEnumerable<LintBreach> OfAny(LintText s, bool transactional)
    {
        if (transactional && Effects.RunsAlone(s.Statement.Text))
            yield return new("concurrently-in-transaction", true,
                "This cannot run in a transaction, and the script has one.",
                $"Put it into a separate script whose first line is: {Migration.NoTransaction}");
        if (Effects.RunsAlone(s.Statement.Text) && s.HasRow("INDEX", "CONCURRENTLY")
            && Effects.IndexOf(s.Statement.Text) is null)
            yield return new("index-without-name", true,
                "An unnamed index cannot be found again after an interruption.", "Name it.");
    }

    static IEnumerable<LintBreach> Loss(LintText s, IReadOnlySet<string> made)
    {
        if (s.Starts("DROP", "TABLE") && !made.Contains(s.NameAfter("TABLE"))
            || s.Starts("DROP", "SCHEMA") || s.Starts("DROP", "MATERIALIZED"))
            yield return new("data-loss", true,
                $"Drops {s.NameAfter(s.Has("TABLE") ? "TABLE" : s.Has("SCHEMA") ? "SCHEMA" : "VIEW")} "
                + "with all its rows.",
                "Stop using it in this version and keep it; upgrades do not delete data.");
        if (s.Starts("TRUNCATE"))
            yield return new("data-loss", true, "Deletes all rows.", "Upgrades do not delete data.");
        if (s.Starts("DELETE", "FROM") && !s.Has("WHERE"))
            yield return new("data-loss", true, $"Deletes all rows of {s.NameAfter("FROM")}.",
                "Upgrades do not delete data; select the rows with WHERE if some must be deleted.");
        if (s.Starts("UPDATE") && !s.Has("WHERE"))
            yield return new("update-all", false,
                $"Rewrites every row of {s.NameAfter("UPDATE")} and locks it until the end of the script.",
                "Let the program fill it in, or select the rows that need it with WHERE.");
    }

    static IEnumerable<LintBreach> Locks(LintText s, IReadOnlySet<string> made)
    {
        if ((s.Starts("CREATE", "INDEX") || s.Starts("CREATE", "UNIQUE", "INDEX"))
            && !s.Has("CONCURRENTLY") && !made.Contains(s.NameAfter("ON")))
            yield return new("index-locks", false,
                $"Nobody can write to {s.NameAfter("ON")} while the index is built.",
                $"Use CREATE INDEX CONCURRENTLY, in a script whose first line is: {Migration.NoTransaction}");
        if (s.Starts("DROP", "INDEX") && !s.Has("CONCURRENTLY"))
            yield return new("index-locks", false, "Nobody can use the table until the end of the script.",
                $"Use DROP INDEX CONCURRENTLY, in a script whose first line is: {Migration.NoTransaction}");
        if (s.Starts("LOCK") || s.Starts("CLUSTER") || s.Starts("VACUUM") && (s.Has("FULL") || s.Inner.Contains("FULL"))
            || s.Starts("REINDEX") && !s.Has("CONCURRENTLY") || s.Starts("REFRESH") && !s.Has("CONCURRENTLY"))
            yield return new("exclusive-lock", false,
                "Nobody can use the table while it runs, or until the end of the script.",
                "REINDEX and REFRESH have CONCURRENTLY; the others do not belong in an upgrade.");
        if (s.Starts("ALTER") && s.Has("RENAME"))
            yield return Renames;
    }

    static IEnumerable<LintBreach> Sessions(LintText s)
    {
        if (s.Starts("SET") && !s.Starts("SET", "LOCAL") && !s.Starts("SET", "CONSTRAINTS"))
            yield return new("session-setting", false, "The setting stays in effect for the scripts that follow.",
                "Use SET LOCAL, which ends with the transaction.");
    }

    static LintBreach Renames =>
        new("rename", false,
            "The previous version of the program, which may still be running, does not know the new name.",
        "Add the new one, write both, and drop the old one in a later version.");

    static IEnumerable<LintBreach> OfAction(string action, LintText s)
    {
        var table = s.NameAfter("TABLE");
        if (DropsColumn().IsMatch(action))
            yield return new("data-loss", true, $"Drops a column of {table} with all its values.",
                "Stop using it in this version and keep it; upgrades do not delete data.");
        if (action.StartsWith("RENAME", StringComparison.Ordinal)) yield return Renames;
        if (AltersType().IsMatch(action))
            yield return new("rewrite", false, $"May rewrite all of {table} while nobody can use it.",
                "Add a column of the new type and fill it from the program. Accept it if the manual says that no "
                + "rewrite is needed, as from varchar to text.");
        if (SetsNotNull().IsMatch(action))
            yield return new("set-not-null", false, $"Reads all of {table} while nobody can use it.",
                "Add CHECK (… IS NOT NULL) NOT VALID, validate it in the next version, then SET NOT NULL is free: "
                + "accept it there.");
        foreach (var breach in Adds(action, table, s)) yield return breach;
    }

    static IEnumerable<LintBreach> Adds(string action, string table, LintText s)
    {
        if (AddsConstraint().Match(action) is { Success: true } constraint)
        {
            var kind = constraint.Groups["kind"].Value;
            if (kind is "CHECK" or "FOREIGN" && !action.Contains("NOT VALID", StringComparison.Ordinal))
                yield return new("validates-all", false, $"Reads all of {table} while nobody can write to it.",
                    "Add it NOT VALID, and VALIDATE CONSTRAINT in the next version.");
            if (kind is "UNIQUE" or "PRIMARY" or "EXCLUDE" && !action.Contains("USING INDEX", StringComparison.Ordinal))
                yield return new("index-locks", false, $"Nobody can use {table} while the index is built.",
                    "First CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX.");
        }
        else if (action.StartsWith("ADD ", StringComparison.Ordinal))
        {
            var filled = action.Contains(" DEFAULT ", StringComparison.Ordinal)
                || action.Contains(" GENERATED ", StringComparison.Ordinal) || Serial().IsMatch(action);
            if (action.Contains("NOT NULL", StringComparison.Ordinal) && !filled)
                yield return new("not-null-without-default", true, $"Fails when {table} has a row.",
                    "Give it a DEFAULT.");
            if (Volatile().IsMatch(action) || action.Contains(" GENERATED ", StringComparison.Ordinal)
                || Serial().IsMatch(action))
                yield return new("rewrite", false,
                    $"Rewrites all of {table} while it is locked: each row gets its own value.",
                    "Add it without, set the default in a second statement, and fill the old rows from the program.");
            if (action.Contains(" UNIQUE", StringComparison.Ordinal)
                || action.Contains(" PRIMARY KEY", StringComparison.Ordinal))
                yield return new("index-locks", false, $"Nobody can use {table} while the index is built.",
                    "Add the column, and the index with CREATE UNIQUE INDEX CONCURRENTLY.");
        }
    }

    [GeneratedRegex("^DROP (COLUMN )?(?!CONSTRAINT\\b)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex DropsColumn();

    [GeneratedRegex("^ALTER .*?(SET DATA )?\\bTYPE\\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex AltersType();

    [GeneratedRegex("^ALTER .*\\bSET NOT NULL$", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex SetsNotNull();

    [GeneratedRegex("^ADD (CONSTRAINT (IF NOT EXISTS )?\\S+ )?(?<kind>CHECK|FOREIGN|UNIQUE|PRIMARY|EXCLUDE)\\b",
        RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex AddsConstraint();

    [GeneratedRegex("\\b(BIG|SMALL)?SERIAL\\b", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Serial();

    /// <summary>Functions that return a different value for each row (pg_proc.provolatile = 'v').</summary>
    [GeneratedRegex(
        "\\bDEFAULT .*\\b(RANDOM|CLOCK_TIMESTAMP|TIMEOFDAY|GEN_RANDOM_UUID|UUIDV4|UUIDV7|NEXTVAL|GEN_RANDOM_BYTES)\\b",
        RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Volatile();
}
