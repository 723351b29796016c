using System.IO.Compression;
using Capsul.Foundation;

namespace Capsul.Postgres.Backups;

/// <summary>Plain: gzipped SQL, for <c>zcat FILE | psql</c>. Custom: pg_dump's own format, for pg_restore.</summary>
public enum DumpFormat { Plain, Custom }

/// <summary>
/// The whole database in one file: the output of <c>pg_dump</c>, compressed. It is a consistent snapshot, taken while
/// everybody keeps working. The file gets its name only when it is complete and on disk; a failed dump leaves nothing
/// behind. Owners and grants are not included: restored objects belong to the user who restores.
/// </summary>
public static class Dump
{
    /// <summary>How long a dump may take; a bound, not an expectation.</summary>
    static readonly TimeSpan Limit = TimeSpan.FromHours(24);

    /// <summary>Writes gzipped plain SQL; returns the size in bytes.</summary>
    /// <exception cref="ProblemException">As <see cref="WriteAsync"/>.</exception>
    public static Task<long> WritePlainAsync(
        string? configuredPrograms, DatabaseAddress address, string file, CancellationToken cancel) =>
        WriteAsync(configuredPrograms, address, file, DumpFormat.Plain, snapshot: null, cancel);

    /// <param name="configuredPrograms"><c>CAPSUL_POSTGRES_BIN</c>.</param>
    /// <param name="address">What to dump.</param>
    /// <param name="file">The target; must not exist.</param>
    /// <param name="format">The format.</param>
    /// <param name="snapshot">Name of a snapshot that another session has exported and keeps open; null: the time when
    /// pg_dump starts.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="ProblemException">Conflict: the file exists. Unavailable: pg_dump is missing or failed, or the
    /// disk is full.</exception>
    public static Task<long> WriteAsync(
        string? configuredPrograms, DatabaseAddress address, string file,
        DumpFormat format, string? snapshot, CancellationToken cancel)
    {
        var dump = PostgresPrograms.Make(configuredPrograms, address, "pg_dump", [
            "--no-owner", "--no-privileges", $"--format={(format == DumpFormat.Custom ? "custom" : "plain")}",
                .. snapshot is null ? [] : new[] { $"--snapshot={snapshot}" }]);
        return WriteWholeAsync(file, (disk, stop) => (dump with
        {
            Timeout = Limit,
            ReadOutput = format == DumpFormat.Custom ? (output, token) =>
                output.CopyToAsync(disk, token) : (output, token) => CompressAsync(output, disk, token),
        }).RunAsync(stop), cancel);
    }

    /// <summary>Writes a large file atomically, readable by its owner only; returns its size in bytes.</summary>
    /// <exception cref="ProblemException">Conflict: it exists. Unavailable: it cannot be written.</exception>
    public static async Task<long> WriteWholeAsync(
        string file, Func<Stream, CancellationToken, Task> write, CancellationToken cancel)
    {
        if (File.Exists(file))
            throw new ProblemException(ProblemKind.Conflict, $"{file} already exists; nothing was written.");
        var part = file + BackupFile.Unfinished;
        var ours = false;
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
            // Root may write where another user does: through no link of that user's.
            if (new FileInfo(part).LinkTarget is not null) File.Delete(part);
            await using (var disk = new FileStream(part, new FileStreamOptions
            {
                Mode = FileMode.Create,
                Access = FileAccess.Write,
                // Two concurrent writers would corrupt the file; the second is refused, and does not disturb the first.
                Share = FileShare.None,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                ours = true;
                await write(disk, cancel);
                disk.Flush(flushToDisk: true);
            }
            File.Move(part, file);
            return new FileInfo(file).Length;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(ProblemKind.Unavailable, $"{file} cannot be written: {error.Message}",
                null, error);
        }
        finally
        {
            if (ours) File.Delete(part);
        }
    }

    /// <summary>Compresses with level 9, like <c>gzip -9</c>.</summary>
    static async Task CompressAsync(Stream from, Stream to, CancellationToken cancel)
    {
        await using var gzip = new GZipStream(to, CompressionLevel.SmallestSize, leaveOpen: true);
        await from.CopyToAsync(gzip, cancel);
    }
}
