using Capsul.Foundation;
using Capsul.Postgres.Migrations;
using Capsul.Postgres.Text;
using Capsul.Tests.Support;

namespace Capsul.Tests.House;

/// <summary>Existing migration scripts are never edited. Comments and line ends do not count.</summary>
public sealed class ScriptTests
{
    const string List = "schema_migrations/checksums";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>
    /// The list is append-only: not even UPDATE_GOLDEN changes a line. It also works without a git history.
    /// </summary>
    [Fact]
    public async Task No_script_differs_from_the_list_of_checksums()
    {
        var path = Path.Combine(Golden.Root, List);
        var lines = (await File.ReadAllLinesAsync(path, Cancel))
            .Where(l => l.Length > 0 && l[0] != '#').Select(l => l.Split("  ")).ToList();
        var known = lines.ToDictionary(p => p[1], p => p[0]);
        foreach (var (name, checksum) in known)
            MigrationScripts.Embedded.All.SingleOrDefault(s => s.Name == name)?.Checksum()
                .ShouldBe(checksum, $"{name} was edited or removed. Restore it, and add a new version.");
        known.Keys.Except(MigrationScripts.Embedded.All.Select(s => s.Name), StringComparer.Ordinal)
            .ShouldBeEmpty("scripts are never removed");
        var added = MigrationScripts.Embedded.All.Where(s => !known.ContainsKey(s.Name))
            .Select(s => $"{s.Checksum()}  {s.Name}").ToList();
        if (Environment.GetEnvironmentVariable("UPDATE_GOLDEN") == "1")
            await File.AppendAllLinesAsync(path, added, Cancel);
        else added.ShouldBeEmpty(
            $"{List} lacks them; run UPDATE_GOLDEN=1 ./capsul test once they are as they are to be published");
    }

    /// <summary>
    /// Compares with the base branch if there is one, otherwise with the commit in which each script first appeared.
    /// </summary>
    [Fact]
    public async Task No_script_differs_from_the_history()
    {
        if (!Directory.Exists(Path.Combine(Golden.Root, ".git")) && !File.Exists(Path.Combine(Golden.Root, ".git")))
            Assert.Skip("this is not a checkout");
        var branch = await GitAsync("merge-base", "HEAD", "origin/main");
        foreach (var script in MigrationScripts.Embedded.All)
        {
            var file = $"schema_migrations/{script.Name}";
            var since = branch
                ?? (await GitAsync("log", "--diff-filter=A", "--format=%H", "--", file))?.Split('\n').LastOrDefault();
            if (since is null || await GitAsync("show", $"{since}:{file}") is not { } was) continue;
            SqlText.Checksum(was).ShouldBe(
                script.Checksum(), $"{script.Name} was edited since {since}. Restore it, and add a new version.");
        }
    }

    static async Task<string?> GitAsync(params string[] arguments)
    {
        var result = await new Command("git", arguments) { WorkingDirectory = Golden.Root }.TryRunAsync(Cancel);
        return result.ExitCode == 0 && result.Output.Trim().Length > 0 ? result.Output.Trim() : null;
    }
}
