using System.Runtime.CompilerServices;

namespace Capsul.Tests.Support;

/// <summary>
/// Files in the repository that a test keeps up to date. <c>UPDATE_GOLDEN=1 ./capsul test</c> regenerates them; without
/// it a difference fails the test.
/// </summary>
public static class Golden
{
    /// <summary>The root of the checkout.</summary>
    public static string Root { get; } = FindRoot();

    public static async Task CheckAsync(string file, string actual, CancellationToken cancel)
    {
        var path = Path.Combine(Root, file);
        if (!actual.EndsWith('\n')) actual += "\n";
        if (Environment.GetEnvironmentVariable("UPDATE_GOLDEN") == "1")
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            await File.WriteAllTextAsync(path, actual, cancel);
            return;
        }
        var expected = File.Exists(path) ? await File.ReadAllTextAsync(path, cancel) : "";
        actual.ShouldBe(expected,
            $"{file} is no longer true; look at the difference and run: UPDATE_GOLDEN=1 ./capsul test");
    }

    static string FindRoot([CallerFilePath] string here = "")
    {
        // The path is fixed at build time; a build with mapped paths falls back to the working folder's repository.
        foreach (var start in (string[])[Path.GetDirectoryName(here)!,
            Environment.CurrentDirectory, AppContext.BaseDirectory])
        {
            for (var folder = start; folder is not null; folder = Path.GetDirectoryName(folder))
            {
                if (File.Exists(Path.Combine(folder, "Capsul.slnx"))) return folder;
            }
        }
        throw new InvalidOperationException("The checkout was not found; run the tests with ./capsul test.");
    }
}
