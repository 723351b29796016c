using Capsul.Foundation;
using Capsul.Tests.Support;

namespace Capsul.Tests.House;

/// <summary>
/// A line has 120 columns at most, so that two versions of a file fit beside each other. Looked at are our own files
/// that git knows.
/// </summary>
public sealed class LineTests
{
    const int MaxColumns = 120;

    /// <summary>A word that no line break makes shorter: the name of a test that quotes a whole sentence.</summary>
    const int UnbreakableChars = 100;

    static readonly string[] Endings = [".cs", ".cshtml", ".sql", ".proto", ".js", ".css", ".md"];

    static readonly string[] Scripts = ["capsul", "tests/run"];

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task No_line_is_longer_than_120_columns()
    {
        if (!Path.Exists(Path.Combine(Golden.Root, ".git"))) Assert.Skip("this is no checkout");
        // What is new and not yet added counts, too.
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
    /// Not the migration scripts, which are never edited, nor the schema beside them, as pg_dump writes it; nor the
    /// command line's reference, whose columns System.CommandLine sets.
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

    /// <summary>A row of a Markdown table is one line, and so is what has no place to break it.</summary>
    static bool IsExempt(string file, string line) =>
        (file.EndsWith(".md", StringComparison.Ordinal) && line.StartsWith('|'))
        || line.Split(' ').Max(w => w.Length) >= UnbreakableChars;
}
