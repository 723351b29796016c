using Capsul.Foundation;

namespace Capsul.Hub.Leadership;

/// <summary>
/// An empty database beside the traces of a Hub that has worked before means that the database is lost: the VMs of
/// living Spokes would run on in no row, and nobody would be told. So it is refused, and an empty one has to be asked
/// for.
/// </summary>
static class LostDatabase
{
    /// <summary>Called when the database is empty.</summary>
    /// <exception cref="ProblemException">Conflict, with how to restore and how to begin anew.</exception>
    public static void Refuse(Settings settings)
    {
        var backup = NewestBackup(settings);
        var traces = Traces(settings, backup).ToList();
        if (traces.Count == 0) return;
        throw new ProblemException(ProblemKind.Conflict,
            $"The database is empty, but a Hub has worked here before ({string.Join(", ", traces)}), so it seems to be lost. "
            + $"Put a backup back: capsul db restore {backup ?? "FILE"}. Or begin with an empty one on purpose: capsul db migrate. "
            + "Then start the Hub again; nothing was changed.");
    }

    static IEnumerable<string> Traces(Settings settings, string? backup)
    {
        if (File.Exists(Path.Combine(settings.Data, "secret.key"))) yield return "secret.key";
        if (backup is not null) yield return Path.GetFileName(backup);
        var vms = Path.Combine(settings.Data, "spoke", "vms");
        if (Directory.Exists(vms) && Directory.EnumerateFiles(vms).Any()) yield return "VMs of its Spoke";
    }

    static string? NewestBackup(Settings settings) => !Directory.Exists(settings.BackupFolder) ? null
        : new DirectoryInfo(settings.BackupFolder).EnumerateFiles("capsul-*")
            .Where(f => f.Extension != ".part").MaxBy(f => f.LastWriteTimeUtc)?.FullName;
}
