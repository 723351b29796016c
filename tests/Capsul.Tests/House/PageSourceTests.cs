using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Capsul.Tests.House;

/// <summary>Finds what the Content-Security-Policy would block in a browser.</summary>
public sealed partial class PageSourceTests
{
    static IEnumerable<string> Pages =>
        Directory.EnumerateFiles(Path.Combine(Root(), "src", "Capsul.Hub"), "*.cshtml", SearchOption.AllDirectories)
            .Where(f => !f.Contains("/obj/", StringComparison.Ordinal)
                && !f.Contains("/bin/", StringComparison.Ordinal));

    [Fact]
    public void No_page_has_inline_scripts_or_styles()
    {
        var pages = Pages.ToList();
        pages.Count.ShouldBeGreaterThan(15);
        foreach (var page in pages)
            Inline().Match(File.ReadAllText(page)).Value.ShouldBeEmpty(Path.GetFileName(page));
    }

    [Fact]
    public void No_page_fetches_anything_from_elsewhere() =>
        Pages.Where(p => Elsewhere().IsMatch(File.ReadAllText(p))).Select(Path.GetFileName).ShouldBeEmpty();

    static string Root([CallerFilePath] string path = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(path)!, "..", "..", ".."));

    [GeneratedRegex("""<style|\sstyle\s*=|\son[a-z]+\s*=\s*"|<script(?![^>]*\ssrc=)|javascript:""",
        RegexOptions.IgnoreCase, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Inline();

    [GeneratedRegex("""(src|<link[^>]*href)\s*=\s*"(https?:)?//""",
        RegexOptions.IgnoreCase, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Elsewhere();
}
