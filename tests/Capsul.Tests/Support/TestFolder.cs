namespace Capsul.Tests.Support;

/// <summary>
/// Folders of one run, below one that is deleted at its end. Under /tmp, which PostgreSQL's own user can access too.
/// </summary>
public static class TestFolder
{
    static readonly Lazy<string> Root = new(() =>
    {
        var root = Directory.CreateTempSubdirectory("capsul-test-").FullName;
        File.SetUnixFileMode(root, (UnixFileMode)0b111_101_101);
        RunEnd.Do(() =>
        {
            Directory.Delete(root, recursive: true);
            return Task.CompletedTask;
        });
        return root;
    });

    static int count;

    public static string Make(string name) =>
        Directory.CreateDirectory(Path.Combine(Root.Value, $"{name}-{Interlocked.Increment(ref count)}")).FullName;
}
