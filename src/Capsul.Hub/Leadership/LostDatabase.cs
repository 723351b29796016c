using Capsul.Foundation;

namespace Capsul.Hub.Leadership;

/// <summary>
/// An empty database beside traces of an earlier Hub means that the database was lost: the VMs of running Spokes would
/// have no row, and nobody would notice. So the Hub refuses to start; the operator must request an empty database
/// explicitly.
/// </summary>
static class LostDatabase
{
    /// <summary>Called when the database is empty.</summary>
    /// <exception cref="ProblemException">Conflict, with how to restore and how to start with an empty one.</exception>
    public static void Refuse(Settings settings)
    {
        var backup = NewestBackup(settings);
        var traces = Traces(settings, backup).ToList();
        if (traces.Count == 0) return;
        throw new ProblemException(ProblemKind.Conflict,
            $"The database is empty, but a Hub has run here before ({string.Join(", ", traces)}), "
            + "so the database seems to be lost. "
            + $"Restore a backup: capsul db restore {backup ?? "FILE"}. "
            + "Without a backup, the Spokes still have your VMs: capsul hub rebuild --from-spokes. "
            + "Or start with an empty one: capsul db migrate. "
            + "Then start the Hub again; nothing was changed.");
    }

    static IEnumerable<string> Traces(Settings settings, string? backup)
    {
        if (new FileInfo(Path.Combine(settings.Data, "secret.key")) is { Exists: true, Length: > 0 })
            yield return "secret.key";
        if (File.Exists(Path.Combine(settings.Data, "hub", "recovery.json"))) yield return "hub/recovery.json";
        if (backup is not null) yield return Path.GetFileName(backup);
        var vms = Path.Combine(settings.Data, "spoke", "vms");
        if (Directory.Exists(vms) && Directory.EnumerateFiles(vms).Any()) yield return "VMs of its Spoke";
    }

    static string? NewestBackup(Settings settings) => !Directory.Exists(settings.BackupFolder) ? null
        : new DirectoryInfo(settings.BackupFolder).EnumerateFiles("capsul-*")
            .Where(f => f.Extension != ".part").MaxBy(f => f.LastWriteTimeUtc)?.FullName;
}
