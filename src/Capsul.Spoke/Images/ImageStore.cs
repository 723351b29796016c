using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Images;

/// <summary>
/// The images of this host, in one folder: <c>ID/VERSION/{image.json,disk.qcow2[,kernel,initrd]}</c> and
/// <c>ID/current</c>, a text file that names the version new VMs get. A version is written once and never changed (its
/// files are read-only), because disks of VMs are based on it. The checksum of a version is that of the list of its
/// files' checksums, in name order, as in <c>sha256sum disk.qcow2 initrd kernel | sha256sum</c>.
/// </summary>
public sealed class ImageStore(string folder)
{
    static readonly string[] Names = ["disk.qcow2", "initrd", "kernel"];
    static readonly JsonSerializerOptions Json = new() { WriteIndented = true };

    /// <summary>Size and time of each file when it was last verified: it is only read again when they change.</summary>
    readonly ConcurrentDictionary<string, string> verified = new(StringComparer.Ordinal);

    public string Folder { get; } = Path.GetFullPath(folder);

    /// <summary>The current version of every image, by ID.</summary>
    public IReadOnlyList<Image> List()
    {
        if (!Directory.Exists(Folder)) return [];
        return [.. Directory.GetDirectories(Folder).Select(d => Current(Path.GetFileName(d)))
            .OfType<Image>().OrderBy(i => i.Id, StringComparer.Ordinal)];
    }

    /// <summary>The current version of one image; null when there is none.</summary>
    public Image? Current(string id)
    {
        var current = Path.Combine(Folder, id, "current");
        return IsId(id) && File.Exists(current) ? Read(id, File.ReadAllText(current).Trim()) : null;
    }

    /// <summary>Exactly that version, current or not; null if it is not here.</summary>
    public Image? Find(string id, string sha256) =>
        IsId(id) && sha256.Length == 64 && sha256.All(char.IsAsciiHexDigitLower)
            && Read(id, sha256[..16]) is { } image && image.Sha256 == sha256 ? image : null;

    public string FileOf(Image image, string file) => Path.Combine(Folder, image.Id, image.Version, file);

    public string Disk(Image image) => FileOf(image, "disk.qcow2");

    /// <summary>The kernel for direct kernel boot; null for other images.</summary>
    public string? Kernel(Image image) => Existing(image, "kernel");

    public string? Initrd(Image image) => Existing(image, "initrd");

    /// <summary>
    /// A folder on the same file system for building a new version; <see cref="AddAsync"/> takes ownership.
    /// </summary>
    public string MakeScratch() => Directory.CreateDirectory(
        Path.Combine(Folder, ".tmp-" + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6)))).FullName;

    /// <summary>
    /// Adds the files of a folder (disk.qcow2, and optionally kernel and initrd) as the current version.
    /// </summary>
    /// <param name="draft">All but the checksum, which is computed.</param>
    /// <param name="files">A folder on the same file system, usually from <see cref="MakeScratch"/>; it is moved
    /// away.</param>
    /// <exception cref="ProblemException">Invalid: the ID is not valid, or there is no disk.qcow2.</exception>
    public async Task<Image> AddAsync(Image draft, string files, CancellationToken cancel)
    {
        if (!IsId(draft.Id))
            throw new ProblemException(ProblemKind.Invalid,
                $"\"{draft.Id}\" is not a valid image ID: use a-z, 0-9, dots and dashes, at most 40 characters.");
        if (!File.Exists(Path.Combine(files, "disk.qcow2")))
            throw new ProblemException(ProblemKind.Invalid, $"The image {draft.Id} has no disk.qcow2.", files);
        var image = draft with { Sha256 = await ChecksumAsync(files, cancel) };
        var home = Path.Combine(Folder, image.Id);
        var version = Path.Combine(home, image.Version);
        await File.WriteAllTextAsync(Path.Combine(files, "image.json"), JsonSerializer.Serialize(image, Json), cancel);
        foreach (var file in Directory.GetFiles(files))
            File.SetUnixFileMode(file, (UnixFileMode)0b100_100_100);
        File.SetUnixFileMode(files, (UnixFileMode)0b111_101_101);
        Directory.CreateDirectory(home);
        if (Directory.Exists(version)) Directory.Delete(files, recursive: true);
        else Directory.Move(files, version);
        await File.WriteAllTextAsync(Path.Combine(home, "current.new"), image.Version + "\n", cancel);
        File.Move(Path.Combine(home, "current.new"), Path.Combine(home, "current"), overwrite: true);
        return image;
    }

    /// <summary>
    /// Whether the files still match their checksum. Cheap if neither size nor time of any file changed.
    /// </summary>
    public async Task<bool> VerifyAsync(Image image, CancellationToken cancel)
    {
        var version = Path.Combine(Folder, image.Id, image.Version);
        if (!File.Exists(Path.Combine(version, "disk.qcow2"))) return false;
        var look = string.Join('\n', Names.Select(n => new FileInfo(Path.Combine(version, n))).Where(f => f.Exists)
            .Select(f => $"{f.Name} {f.Length} {f.LastWriteTimeUtc.Ticks}"));
        if (verified.TryGetValue(image.Sha256, out var before) && before == look) return true;
        if (await ChecksumAsync(version, cancel) != image.Sha256) return false;
        verified[image.Sha256] = look;
        return true;
    }

    /// <summary>The checksum of the version whose files are in a folder.</summary>
    public static async Task<string> ChecksumAsync(string files, CancellationToken cancel)
    {
        var listing = new StringBuilder();
        foreach (var name in Names)
        {
            var file = Path.Combine(files, name);
            if (!File.Exists(file)) continue;
            await using var stream = File.OpenRead(file);
            listing.Append(Convert.ToHexStringLower(await SHA256.HashDataAsync(stream, cancel)))
                .Append("  ").Append(name).Append('\n');
        }
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(listing.ToString())));
    }

    /// <summary>IDs are folder names: no separators, no leading dot.</summary>
    public static bool IsId(string id) =>
        id.Length is > 0 and <= 40 && char.IsAsciiLetterOrDigit(id[0])
            && id.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '.');

    string? Existing(Image image, string file) => FileOf(image, file) is var path && File.Exists(path) ? path : null;

    Image? Read(string id, string version)
    {
        var file = Path.Combine(Folder, id, version, "image.json");
        return File.Exists(file) ? JsonSerializer.Deserialize<Image>(File.ReadAllText(file)) : null;
    }
}
