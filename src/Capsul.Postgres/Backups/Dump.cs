using System.IO.Compression;
using Capsul.Foundation;

namespace Capsul.Postgres.Backups;

/// <summary>
/// Plain: SQL behind gzip, which <c>zcat FILE | psql</c> reads. Custom: pg_dump's own, for pg_restore.
/// </summary>
public enum DumpFormat { Plain, Custom }

/// <summary>
/// The whole database in one file: what <c>pg_dump</c> writes, compressed. It is a consistent picture of one moment
/// while everybody works on. The file gets its name only when it is whole and on the disk; a dump that fails leaves
/// nothing behind. Owners and grants are not in it: the restored objects belong to the user who restores.
/// </summary>
public static class Dump
{
    /// <summary>How long a dump may take; a bound, not an expectation.</summary>
    static readonly TimeSpan Limit = TimeSpan.FromHours(24);

    /// <summary>Writes plain SQL through gzip; gives the size in bytes.</summary>
    /// <exception cref="ProblemException">As <see cref="WriteAsync"/>.</exception>
    public static Task<long> WritePlainAsync(
        string? configuredPrograms, DatabaseAddress address, string file, CancellationToken cancel) =>
        WriteAsync(configuredPrograms, address, file, DumpFormat.Plain, snapshot: null, cancel);

    /// <param name="configuredPrograms"><c>CAPSUL_POSTGRES_BIN</c>.</param>
    /// <param name="address">What to dump.</param>
    /// <param name="file">Where to; must not exist.</param>
    /// <param name="format">How.</param>
    /// <param name="snapshot">Name of a snapshot that another session has exported and holds; null: the moment pg_dump
    /// starts.</param>
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

    /// <summary>A large file that is whole or not there, readable by its owner only; gives its size in bytes.</summary>
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
                // Two that write one file at a time would both spoil it; the second is refused, and takes nothing away
                // from the first.
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

    /// <summary>Level 9, as <c>gzip -9</c>.</summary>
    static async Task CompressAsync(Stream from, Stream to, CancellationToken cancel)
    {
        await using var gzip = new GZipStream(to, CompressionLevel.SmallestSize, leaveOpen: true);
        await from.CopyToAsync(gzip, cancel);
    }
}
