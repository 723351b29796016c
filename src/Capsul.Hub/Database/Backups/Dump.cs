using System.IO.Compression;
using Capsul.Foundation;

namespace Capsul.Hub.Database.Backups;

/// <summary>
/// The whole database in one file: what <c>pg_dump</c> writes, compressed. It is a consistent picture of one moment while everybody
/// works on. The file gets its name only when it is whole and on the disk; a dump that fails leaves nothing behind.
/// </summary>
public static class Dump
{
    /// <summary>How long a dump may take; a bound, not an expectation.</summary>
    static readonly TimeSpan Limit = TimeSpan.FromHours(24);

    /// <summary>Writes plain SQL through gzip, which <c>zcat FILE | psql</c> reads; gives the size in bytes.</summary>
    /// <exception cref="ProblemException">Conflict: the file exists. Unavailable: pg_dump is missing or failed, or the disk is full.</exception>
    public static async Task<long> WritePlainAsync(string? configuredPrograms, DatabaseAddress address, string file, CancellationToken cancel)
    {
        if (File.Exists(file)) throw new ProblemException(ProblemKind.Conflict, $"{file} exists already; nothing was written.");
        var part = file + ".part";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
            await using (var disk = new FileStream(part, new FileStreamOptions
            {
                Mode = FileMode.Create,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                await (PostgresPrograms.Make(configuredPrograms, address, "pg_dump") with
                {
                    Timeout = Limit,
                    ReadOutput = (output, stop) => CompressAsync(output, disk, stop),
                }).RunAsync(cancel);
                disk.Flush(flushToDisk: true);
            }
            File.Move(part, file);
            return new FileInfo(file).Length;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(ProblemKind.Unavailable, $"{file} cannot be written: {error.Message}", null, error);
        }
        finally
        {
            // Deleting in a folder that could not be made fails, and would hide why.
            if (File.Exists(part)) File.Delete(part);
        }
    }

    static async Task CompressAsync(Stream from, Stream to, CancellationToken cancel)
    {
        await using var gzip = new GZipStream(to, CompressionLevel.SmallestSize, leaveOpen: true);
        await from.CopyToAsync(gzip, cancel);
    }
}
