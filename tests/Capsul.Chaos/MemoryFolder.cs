using System.Globalization;
using System.Security.Cryptography;

namespace Capsul.Chaos;

/// <summary>Folders in memory where there is enough of it, for what no disk has to keep.</summary>
public static class MemoryFolder
{
    const string Memory = "/dev/shm";

    /// <summary>For the databases of one run, and their log of changes, which is 1 GB at most.</summary>
    const long Needed = 3L << 30;

    /// <summary>
    /// Makes one, and removes those that runs which were killed have left: memory does not come back otherwise.
    /// </summary>
    /// <param name="name">Of the kind of run, such as "chaos".</param>
    public static DirectoryInfo Make(string name)
    {
        var prefix = $"capsul-{name}-";
        var root = Path.GetTempPath();
        if (Directory.Exists(Memory))
        {
            foreach (var left in Directory.GetDirectories(Memory, prefix + "*").Where(f => IsLeft(f, prefix)))
                Remove(left);
            if (new DriveInfo(Memory).AvailableFreeSpace >= Needed) root = Memory;
        }
        // Anybody may write there: nobody can know the name beforehand.
        var unique = RandomNumberGenerator.GetHexString(8, lowercase: true);
        return Directory.CreateDirectory(Path.Combine(root, $"{prefix}{Environment.ProcessId}-{unique}"));
    }

    static bool IsLeft(string folder, string prefix) =>
        int.TryParse(Path.GetFileName(folder)[prefix.Length..].Split('-')[0], CultureInfo.InvariantCulture, out var id)
            && !Directory.Exists($"/proc/{id}");

    static void Remove(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (DirectoryNotFoundException)
        {
            // Another run, which began at the same moment, was faster.
        }
    }
}
