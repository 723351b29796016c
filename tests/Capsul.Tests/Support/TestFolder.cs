using Capsul.Chaos;

namespace Capsul.Tests.Support;

/// <summary>
/// Folders of one run, below one that is deleted at its end. Under /tmp, which PostgreSQL's own user can access too.
/// </summary>
public static class TestFolder
{
    static readonly Lazy<string> Root = new(() => ForThisRun(Directory.CreateTempSubdirectory("capsul-test-")));
    static readonly Lazy<string> FastRoot = new(() => ForThisRun(MemoryFolder.Make("test")));
    static int count;

    public static string Make(string name) => Below(Root.Value, name);

    /// <summary>In memory: a database is a thousand files, which no disk has to see.</summary>
    public static string MakeFast(string name) => Below(FastRoot.Value, name);

    static string Below(string root, string name) =>
        Directory.CreateDirectory(Path.Combine(root, $"{name}-{Interlocked.Increment(ref count)}")).FullName;

    static string ForThisRun(DirectoryInfo root)
    {
        File.SetUnixFileMode(root.FullName, (UnixFileMode)0b111_101_101);
        RunEnd.Do(() =>
        {
            root.Delete(recursive: true);
            return Task.CompletedTask;
        });
        return root.FullName;
    }
}
