using System.Globalization;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Postgres.Backups;

/// <summary>The contents of a backup, found by reading all of it.</summary>
/// <param name="SchemaVersion">Schema version of the database that was backed up.</param>
public sealed record BackupContent(int SchemaVersion);

/// <summary>
/// A backup as a file: plain SQL, SQL behind gzip, pg_dump's custom format, or any of these encrypted with age or gpg.
/// All of them are read as a stream of SQL. A file that is truncated, damaged, unfinished or not a backup is refused
/// with the reason before anything is changed.
/// </summary>
public sealed class BackupFile(string path, string? identity, string? configuredPrograms)
{
    static readonly TimeSpan Limit = TimeSpan.FromHours(24);
    const string Head = "-- PostgreSQL database dump\n", Tail = "-- PostgreSQL database dump complete\n";
    const string AgeMark = "age-encryption.org/v1", AgeArmor = "-----BEGIN AGE ENCRYPTED FILE-----",
        GpgArmor = "-----BEGIN PGP MESSAGE-----", CustomMark = "PGDMP";

    /// <summary>Suffix of a file that is still being written.</summary>
    public const string Unfinished = ".part";

    /// <summary>Allows an unverified file, for the backup that is verifying it.</summary>
    public bool AllowUnverified { get; init; }

    /// <summary>
    /// Sets a backup's modification time to the time of its snapshot, to the second: a row is matched to its file by
    /// this time, the name and the size.
    /// </summary>
    public static void Stamp(string file, DateTime started)
    {
        try
        {
            File.SetLastWriteTimeUtc(file, started);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Some network file systems set their own time. The backup is just as good, but retention will not delete
            // it.
        }
    }

    /// <summary>
    /// Whether the file of a row is on this machine. Several Hubs write to one table, each with its own disk, where
    /// another Hub's path may not exist or may be a different file.
    /// </summary>
    public static bool IsHere(BackupRow row) =>
        new FileInfo(row.File) is { Exists: true } file && file.Length == row.Bytes
            && (file.LastWriteTimeUtc - row.Started).Duration() < StampPrecision;

    /// <summary>FAT, as on USB sticks, has a resolution of two seconds.</summary>
    static readonly TimeSpan StampPrecision = TimeSpan.FromSeconds(3);

    /// <summary>
    /// Deletes leftovers of killed backups in the folder of a backup. Files being written are left alone.
    /// </summary>
    public static void ClearLeftovers(string file)
    {
        var (folder, name) = (Path.GetDirectoryName(file)!, Path.GetFileName(file));
        if (!Directory.Exists(folder)) return;
        foreach (var left in Directory.EnumerateFiles(folder, "*" + Unfinished)
            .Where(f => Path.GetFileName(f) is var leaf
            && (leaf.StartsWith("capsul-backup-", StringComparison.Ordinal)
                || leaf.StartsWith(name + ".", StringComparison.Ordinal))).ToList())
        {
            try
            {
                using (new FileStream(left, FileMode.Open, FileAccess.ReadWrite, FileShare.None)) { }
                File.Delete(left);
            }
            catch (IOException)
            {
                // Locked: it is being written.
            }
        }
    }

    /// <summary>How much of the end is kept to find the last line, bytes.</summary>
    const int TailBytes = 512;

    /// <summary>Reads the whole file once.</summary>
    /// <exception cref="ProblemException">Invalid, with what is wrong with it.</exception>
    public async Task<BackupContent> CheckAsync(CancellationToken cancel)
    {
        var scan = new DumpScan();
        await ReadAsync((sql, stop) => scan.ReadAsync(sql, stop), cancel);
        if (!scan.Start.Contains(Head, StringComparison.Ordinal)) throw Refuse(
            "is not a dump of a PostgreSQL database");
        if (!scan.End.Contains(Tail, StringComparison.Ordinal))
            throw Refuse("is truncated: its closing line is missing");
        if (!EndsThere(scan.End))
            throw Refuse("continues after the end of the dump; the extra content is not part of the backup");
        return new BackupContent(scan.SchemaVersion
            ?? throw Refuse("is a dump of another database: it has no table schemaversion"));
    }

    /// <summary>
    /// After the last line pg_dump writes the rest of a comment, and since August 2025 a psql command.
    /// </summary>
    static bool EndsThere(string end) => end[(end.LastIndexOf(Tail, StringComparison.Ordinal) + Tail.Length)..]
        .Split('\n')
        .All(line => line.Trim() is "" or "--" || line.StartsWith(@"\unrestrict ", StringComparison.Ordinal));

    /// <summary>Reads the backup as SQL for psql, decrypted and unpacked on the fly.</summary>
    /// <exception cref="ProblemException">Invalid, with what is wrong with it.</exception>
    public async Task ReadAsync(Func<Stream, CancellationToken, Task> read, CancellationToken cancel)
    {
        if (path.EndsWith(Unfinished, StringComparison.Ordinal) && !AllowUnverified)
            throw Refuse("was never finished; it is not a backup");
        try
        {
            await using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
            var start = await PeekAsync(file, cancel);
            file.Position = 0;
            var age = start.StartsWith(AgeMark, StringComparison.Ordinal)
                || start.StartsWith(AgeArmor, StringComparison.Ordinal);
            if (age || start.StartsWith(GpgArmor, StringComparison.Ordinal)
                || path.EndsWith(".gpg", StringComparison.Ordinal))
                await Encryption.ReadAsync(path, age, identity, (inner, stop) =>
                    UnpackAsync(inner, read, stop), cancel);
            else
                await UnpackAsync(file, read, cancel);
        }
        catch (FileNotFoundException error)
        {
            throw new ProblemException(ProblemKind.NotFound, $"There is no file {path}.", null, error);
        }
        catch (DirectoryNotFoundException error)
        {
            throw new ProblemException(ProblemKind.NotFound, $"There is no file {path}.", null, error);
        }
        catch (UnauthorizedAccessException error)
        {
            throw new ProblemException(ProblemKind.Forbidden, $"{path} cannot be read: {error.Message}", null, error);
        }
    }

    async Task UnpackAsync(Stream packed, Func<Stream, CancellationToken, Task> read, CancellationToken cancel)
    {
        var start = new byte[CustomMark.Length];
        var count = await packed.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, cancel);
        await using var whole = new Prefixed(start.AsMemory(0, count), packed);
        // gzip itself, because .NET's reader does not detect a truncated file.
        if (count >= 2 && start[0] == 0x1f && start[1] == 0x8b)
            await UnpackWithAsync(new Command("gzip", "--decompress", "--stdout"), whole, read, cancel);
        else if (Encoding.ASCII.GetString(start) == CustomMark)
            await UnpackWithAsync(
                new Command(Path.Combine(PostgresPrograms.Folder(configuredPrograms, "pg_restore"), "pg_restore"),
                "--no-owner", "--no-privileges", "--file=-"), whole, read, cancel);
        else
            await read(whole, cancel);
    }

    async Task UnpackWithAsync(
        Command program, Stream packed, Func<Stream, CancellationToken, Task> read, CancellationToken cancel)
    {
        var unpacked = await (program with
        {
            Timeout = Limit,
            WriteInput = (input, stop) =>
            packed.CopyToAsync(input, stop),
            ReadOutput = read
        }).TryRunAsync(cancel);
        if (unpacked.ExitCode != 0) throw Refuse($"is damaged or truncated ({unpacked.LastLine.TrimEnd('.')})");
    }

    static async Task<string> PeekAsync(FileStream file, CancellationToken cancel)
    {
        var start = new byte[64];
        return Encoding.ASCII.GetString(start, 0,
            await file.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, cancel));
    }

    ProblemException Refuse(string what) => new(ProblemKind.Invalid, $"{path} {what}. Nothing was changed.");

    /// <summary>Scans a dump as it streams past: its first and last lines, and the row of schemaversion.</summary>
    sealed class DumpScan
    {
        static readonly byte[][] Marks =
            [.. new[] { "COPY public.schemaversion (version) FROM stdin;",
            "INSERT INTO public.schemaversion VALUES (", "INSERT INTO public.schemaversion (version) VALUES (" }.Select(
            Encoding.ASCII.GetBytes)];

        public string Start { get; private set; } = "";
        public string End { get; private set; } = "";
        public int? SchemaVersion { get; private set; }

        /// <summary>Reads in blocks that overlap by more than the longest string searched for.</summary>
        public async Task ReadAsync(Stream sql, CancellationToken cancel)
        {
            var buffer = new byte[1 << 20];
            var kept = 0;
            while (await sql.ReadAtLeastAsync(buffer.AsMemory(kept), buffer.Length - kept,
                throwOnEndOfStream: false, cancel) is var count and > 0)
            {
                var block = buffer.AsMemory(0, kept + count);
                if (Start.Length == 0) Start = Text(block.Span[..Math.Min(block.Length, TailBytes)]);
                SchemaVersion ??= FindVersion(block.Span);
                kept = Math.Min(block.Length, TailBytes);
                End = Text(block.Span[^kept..]);
                block.Span[^kept..].CopyTo(buffer);
            }
        }

        /// <summary>A file that was edited on Windows may have CRLF line ends.</summary>
        static string Text(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes)
            .Replace("\r\n", "\n", StringComparison.Ordinal);

        static int? FindVersion(ReadOnlySpan<byte> block)
        {
            foreach (var mark in Marks)
            {
                if (block.IndexOf(mark) is not (var at and >= 0)) continue;
                var digits = block[(at + mark.Length)..].TrimStart("\r\n"u8);
                var length = digits.IndexOfAnyExceptInRange((byte)'0', (byte)'9');
                if (length > 0 && int.TryParse(digits[..length], CultureInfo.InvariantCulture, out var version))
                    return version;
            }
            return null;
        }
    }

    /// <summary>A stream whose first bytes have already been read.</summary>
    sealed class Prefixed(ReadOnlyMemory<byte> prefix, Stream rest) : Stream
    {
        ReadOnlyMemory<byte> left = prefix;

        public override async ValueTask<int> ReadAsync(
            Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (left.IsEmpty) return await rest.ReadAsync(buffer, cancellationToken);
            var count = Math.Min(left.Length, buffer.Length);
            left[..count].CopyTo(buffer);
            left = left[count..];
            return count;
        }

        public override Task<int> ReadAsync(
            byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

        public override bool CanRead => true;
        public override bool CanSeek => false;
        public override bool CanWrite => false;
        public override long Length => throw new NotSupportedException();
        public override long Position
        {
            get => throw new NotSupportedException(); set =>
            throw new NotSupportedException();
        }
        public override int Read(byte[] buffer, int offset, int count) =>
            throw new NotSupportedException("Read asynchronously.");
        public override void Flush() => throw new NotSupportedException();
        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
        public override void SetLength(long value) => throw new NotSupportedException();
        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
