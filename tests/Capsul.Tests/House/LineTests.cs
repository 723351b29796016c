using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.House;

/// <summary>
/// A line has at most 120 columns, so that two versions of a file fit side by side. Checks our own files that are in
/// git.
/// </summary>
public sealed class LineTests
{
    const int MaxColumns = 120;

    /// <summary>A word that cannot be broken: the name of a test that quotes a whole sentence.</summary>
    const int UnbreakableChars = 100;

    static readonly string[] Endings = [".cs", ".cshtml", ".sql", ".proto", ".js", ".css", ".md"];

    static readonly string[] Scripts = ["capsul", "tests/run"];

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task No_line_is_longer_than_120_columns()
    {
        if (!Path.Exists(Path.Combine(Golden.Root, ".git"))) Assert.Skip("this is not a checkout");
        // Including new files that are not yet added.
        var listed = await new Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
        {
            WorkingDirectory = Golden.Root,
        }.RunAsync(Cancel);
        var files = listed.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(f => IsOurs(f) && File.Exists(Path.Combine(Golden.Root, f))).ToList();
        files.Count.ShouldBeGreaterThan(400, "the test must have found the files");
        files.SelectMany(TooLong).ShouldBeEmpty();
    }

    /// <summary>
    /// Not the migration scripts, which are never edited, nor the schema beside them, which pg_dump writes; nor the
    /// command line reference, whose width System.CommandLine sets.
    /// </summary>
    static bool IsOurs(string file) =>
        (Endings.Contains(Path.GetExtension(file), StringComparer.Ordinal)
            || Scripts.Contains(file, StringComparer.Ordinal))
        && !(file.StartsWith("schema_migrations/", StringComparison.Ordinal)
            && file.EndsWith(".sql", StringComparison.Ordinal))
        && file != "docs/cli.md";

    static IEnumerable<string> TooLong(string file) =>
        File.ReadLines(Path.Combine(Golden.Root, file)).Index()
            .Where(l => l.Item.Length > MaxColumns && !IsExempt(file, l.Item))
            .Select(l => $"{file}:{l.Index + 1}");

    /// <summary>A row of a Markdown table is one line, and so is text without a place to break it. A chain of calls is
    /// broken before a dot.</summary>
    static bool IsExempt(string file, string line) =>
        (file.EndsWith(".md", StringComparison.Ordinal) && line.StartsWith('|'))
        || line.Split(file.EndsWith(".cs", StringComparison.Ordinal) ? Breaks : [' ']).Max(w => w.Length)
            >= UnbreakableChars;

    static readonly char[] Breaks = [' ', '.'];
}
