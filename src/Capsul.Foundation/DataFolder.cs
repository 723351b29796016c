using System.Security.Cryptography;
using System.Text;

namespace Capsul.Foundation;

/// <summary>The folder for all of Capsul's data, with a lock that lets one process per role use it at a time.</summary>
public sealed class DataFolder : IDisposable
{
    /// <summary>Of the name that a file has until it is whole.</summary>
    const int UniqueDigits = 8;

    static readonly EnumerationOptions BelowWithoutLinks = new()
    {
        RecurseSubdirectories = true,
        AttributesToSkip = FileAttributes.ReparsePoint,
        IgnoreInaccessible = true,
    };

    readonly FileStream held;

    DataFolder(string path, FileStream held) => (FullPath, this.held) = (path, held);

    public string FullPath { get; }

    /// <summary>
    /// Creates the folder if it is missing, acquires its lock for <paramref name="role"/> ("hub", "spoke"), and
    /// removes what a predecessor that was killed left half written in the role's own folder.
    /// </summary>
    /// <exception cref="ProblemException">Unavailable: not writable. Conflict: another process holds it.</exception>
    public static DataFolder Take(string path, string role)
    {
        var taken = new DataFolder(path, Hold(path, role));
        RemoveUnfinished(Path.Combine(path, role));
        return taken;
    }

    static FileStream Hold(string path, string role)
    {
        var file = Path.Combine(path, $"{role}.lock");
        try
        {
            Directory.CreateDirectory(path);
            return new FileStream(file, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
        }
        catch (IOException) when (File.Exists(file))
        {
            throw new ProblemException(ProblemKind.Conflict,
                $"Capsul ({role}) is already running on the data folder {path}. Stop it first, or choose another "
                + "data folder with CAPSUL_DATA.");
        }
        catch (Exception error) when (error is UnauthorizedAccessException or IOException)
        {
            throw NotWritable(path, error);
        }
    }

    /// <summary>Nobody else writes there: the lock is held.</summary>
    static void RemoveUnfinished(string folder)
    {
        if (!Directory.Exists(folder)) return;
        try
        {
            foreach (var file in Directory.GetFiles(folder, "*.new", BelowWithoutLinks).Where(IsUnfinished))
                File.Delete(file);
        }
        catch (Exception error) when (error is UnauthorizedAccessException or IOException)
        {
            // It takes up room and nothing else; that is no reason not to start.
        }
    }

    /// <summary>Whether it has a name that <see cref="OpenNew"/> gives.</summary>
    static bool IsUnfinished(string file) => Path.GetFileName(file).Split('.') is [.., _, var unique, "new"]
        && unique.Length == UniqueDigits && unique.All(char.IsAsciiHexDigitLower);

    /// <summary>Unavailable: what to tell the person who chose it.</summary>
    public static ProblemException NotWritable(string path, Exception error) => new(ProblemKind.Unavailable,
        $"The data folder {path} cannot be written: {error.Message} Choose another with CAPSUL_DATA.", null, error);

    /// <summary>
    /// Eight hex digits that identify a folder where a short name is needed (paths of Unix sockets have at most 107
    /// characters).
    /// </summary>
    public static string ShortName(string path) =>
        Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Path.GetFullPath(path))))[..8];

    /// <summary>
    /// Writes a small file atomically: after a crash there is the old one or the new one, never part of it.
    /// </summary>
    public static async Task WriteWholeAsync(
        string file, byte[] content, CancellationToken cancel,
        UnixFileMode mode = UnixFileMode.UserRead | UnixFileMode.UserWrite)
    {
        var (stream, temporary) = OpenNew(file, mode);
        try
        {
            await using (stream)
            {
                await stream.WriteAsync(content, cancel);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, file, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>The same, synchronously, for small files that are written under a lock.</summary>
    public static void WriteWhole(
        string file, ReadOnlySpan<byte> content, UnixFileMode mode = UnixFileMode.UserRead | UnixFileMode.UserWrite)
    {
        var (stream, temporary) = OpenNew(file, mode);
        try
        {
            using (stream)
            {
                stream.Write(content);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, file, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>
    /// A unique name beside the file: of two concurrent writers the last one wins, with a complete file.
    /// </summary>
    static (FileStream Stream, string Name) OpenNew(string file, UnixFileMode mode)
    {
        var temporary = $"{file}.{RandomNumberGenerator.GetHexString(UniqueDigits, lowercase: true)}.new";
        return (new FileStream(temporary, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            UnixCreateMode = mode,
        }), temporary);
    }

    public void Dispose() => held.Dispose();
}
