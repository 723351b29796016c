using System.Text.RegularExpressions;
using Capsul.Postgres.Text;

namespace Capsul.Postgres.Migrations;

/// <summary>A problem in a script that a person should consider before it is published.</summary>
/// <param name="Error">It loses data or fails, or the set is incomplete; otherwise it blocks others.</param>
public sealed record LintFinding(string File, int Line, string Rule, bool Error, string Says, string Instead);

/// <summary>
/// Parses scripts as the server would and reports their effect on a database in use. A finding is accepted with a
/// comment between the previous statement and the end of the statement itself: <c>-- lint: accept RULE because …</c>;
/// the reason is required.
/// </summary>
public static partial class Lint
{
    /// <param name="wholeSet">Also checks that numbers have no gaps or duplicates and that every script has a down
    /// script.</param>
    public static IReadOnlyList<LintFinding> Check(IReadOnlyList<Migration> scripts, bool wholeSet)
    {
        var findings = scripts.SelectMany(CheckScript);
        if (wholeSet) findings = findings.Concat(CheckSet(scripts));
        return [.. findings.OrderBy(f => f.File, StringComparer.Ordinal).ThenBy(f => f.Line)];
    }

    static IEnumerable<LintFinding> CheckSet(IReadOnlyList<Migration> scripts)
    {
        foreach (var twice in scripts.GroupBy(s => (s.Version, s.Up)).Where(g => g.Count() > 1))
            yield return new(twice.Last().Name, 1, "number-twice", true,
                $"Has the same number as {twice.First().Name}.", "Use the next free number.");
        var ups = scripts.Where(s => s.Up).Select(s => s.Version).ToHashSet();
        foreach (var script in scripts.Where(s => s.Version > 1 && !ups.Contains(s.Version - 1) && s.Up))
            yield return new(script.Name, 1, "number-gap", true,
                $"There is no script for version {script.Version - 1}.",
                "Use the next number, without a gap.");
        foreach (var script in scripts.Where(s => s.Version < 1 || !s.Up && !ups.Contains(s.Version)))
            yield return new(script.Name, 1, "number-gap", true, "There is no up script with its number.",
                "Numbers begin with 1; up and down scripts come in pairs.");
        var downs = scripts.Where(s => !s.Up).Select(s => s.Version).ToHashSet();
        foreach (var script in scripts.Where(s => s.Up && !downs.Contains(s.Version)
            && !Accepts(s.Sql, "missing-down")))
            yield return new(script.Name, 1, "missing-down", true, "Has no down script.",
                $"Write {script.Version:00}_down_….sql.");
    }

    static IEnumerable<LintFinding> CheckScript(Migration script)
    {
        var reader = new SqlReader(script.Sql);
        var made = new HashSet<string>(StringComparer.Ordinal);
        var (from, count) = (0, 0);
        while (reader.Next() is { } statement)
        {
            count++;
            var text = new LintText(statement);
            var around = script.Sql[from..statement.End];
            foreach (var breach in Breaches(script, text, made).Where(b => !Accepts(around, b.Rule)))
                yield return new(script.Name, statement.Line, breach.Rule, breach.Error, breach.Says, breach.Instead);
            if (text.Starts("CREATE") && text.Has("TABLE")) made.Add(text.NameAfter("TABLE"));
            from = statement.End;
        }
        foreach (var finding in CheckText(script, reader.Unclosed, count)) yield return finding;
    }

    static IEnumerable<LintBreach> Breaches(Migration script, LintText text, HashSet<string> made)
    {
        if (script.TransactionStatement is { } ends && ends.Start == text.Statement.Start)
            yield return new("transaction-statement", true,
                $"{ends.Words(1)[0]} is not allowed: the migrator runs a script and its version in one transaction.",
                "Remove it.");
        foreach (var breach in LintRules.OfAny(text, script.Transactional)) yield return breach;
        if (!script.Up) yield break;
        foreach (var breach in LintRules.Of(text, made)) yield return breach;
    }

    static IEnumerable<LintFinding> CheckText(Migration script, string? unclosed, int statements)
    {
        if (unclosed is not null)
            yield return new(script.Name, script.Sql.Count(c => c == '\n')
                + 1, "unclosed", true, $"A {unclosed} is never closed.", "Close it.");
        if (statements == 0)
            yield return new(script.Name, 1, "empty", false, "Does nothing.",
                "Keep the number for a script that does something.");
        if (script.Transactional && Marker().Match(script.Sql) is { Success: true } marker)
            yield return new(script.Name, SqlText.Place(script.Sql, marker.Index).Line,
                "marker", true,
                "The marker of a script without a transaction must be its first line, and exactly as it is written "
                + "in the README.", $"First line: {Migration.NoTransaction}");
        if (!script.Transactional && !script.Statements.Any(s => Effects.RunsAlone(s.Text))
            && !Accepts(script.Sql, "needless-no-transaction"))
            yield return new(script.Name, 1, "needless-no-transaction",
                false, "Nothing in it needs to be outside a transaction.",
                "Remove the first line; in a transaction it is all or nothing.");
        foreach (Match accept in WithoutReason().Matches(script.Sql))
            yield return new(script.Name, SqlText.Place(script.Sql, accept.Index).Line, "accept-without-reason",
                true, "Accepts a finding without a reason.", "-- lint: accept RULE because …");
    }

    static bool Accepts(string text, string rule) => Accept().Matches(text).Any(m => m.Groups["rule"].Value == rule);

    [GeneratedRegex(@"--\s*lint:\s*accept\s+(?<rule>[a-z-]+)\s+because\s+\S", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Accept();

    [GeneratedRegex(@"--\s*lint:\s*accept(?!\s+[a-z-]+\s+because\s+\S)", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex WithoutReason();

    [GeneratedRegex(@"--\s*capsul:?\s*no[ -]transaction", RegexOptions.ExplicitCapture | RegexOptions.IgnoreCase, 1000)]
    private static partial Regex Marker();
}
