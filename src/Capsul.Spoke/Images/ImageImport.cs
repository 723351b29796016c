using System.Security.Cryptography;
using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Images;

/// <summary>What to import, and how to describe it.</summary>
/// <param name="Source">A file, or an http or https address.</param>
/// <param name="Sha256">Checksum of that file as its publisher provides it, hex.</param>
public sealed record ImageSource(
    string Source, string Sha256, string Id, string Title, string LoginUser, int MinDiskGb, int MinMemoryMb);

/// <summary>
/// Imports a cloud image into the store: only with its checksum, only qcow2 or raw, and only if it is self-contained. A
/// qcow2 may name another file as its base, and a VM's disk based on it could then read any file of this host.
/// </summary>
/// <param name="client">For URLs; must not follow redirects by itself.</param>
/// <param name="maxBytes">Largest file that is accepted; default 16 GiB.</param>
public sealed class ImageImport(ImageStore store, HttpClient client, long maxBytes = 16L << 30)
{
    const int MaxRedirects = 5;
    /// <summary>Largest virtual disk size; a sparse image can claim any size in a few kilobytes.</summary>
    const long MaxVirtualBytes = 1L << 40;
    const int SectorBytes = 512;

    /// <summary>First bytes of compressed files that people mistake for disk images.</summary>
    static readonly (string Name, byte[] Magic, string Tool)[] Packed =
    [
        ("gzip", [0x1f, 0x8b], "gunzip"), ("xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a], "unxz"),
        ("bzip2", [0x42, 0x5a, 0x68], "bunzip2"), ("zstd", [0x28, 0xb5, 0x2f, 0xfd], "unzstd"),
        ("zip", [0x50, 0x4b, 0x03, 0x04], "unzip"),
    ];

    static readonly TimeSpan DownloadLimit = TimeSpan.FromHours(2),
        ConvertLimit = TimeSpan.FromMinutes(30), StallLimit = TimeSpan.FromMinutes(1);

    /// <summary>Imports the image and makes it the current version of its ID.</summary>
    /// <exception cref="ProblemException">Invalid: checksum, size, format or a reference to other files; NotFound: no
    /// such file; Unavailable: the download failed.</exception>
    public async Task<Image> ImportAsync(ImageSource source, Action<ImageProgress> progress, CancellationToken cancel)
    {
        Require(source);
        var scratch = store.MakeScratch();
        try
        {
            var file = Path.Combine(scratch, "source");
            await FetchAsync(source, file, progress, cancel);
            progress(new("Inspecting the image", 0.75));
            var format = await FormatAsync(file, cancel);
            progress(new("Importing the image", 0.8));
            var files = Directory.CreateDirectory(Path.Combine(scratch, "files")).FullName;
            // Rewritten even if it is already qcow2: the result has no snapshots, foreign fields or references.
            await new Command("qemu-img", "convert", "-f", format, "-O", "qcow2", file, Path.Combine(
                files, "disk.qcow2"))
            { Timeout = ConvertLimit }.RunAsync(cancel);
            File.Delete(file);
            var image = await store.AddAsync(new Image(
                source.Id, source.Title, "", source.LoginUser, source.MinDiskGb, source.MinMemoryMb), files, cancel);
            progress(new("Done", 1));
            return image;
        }
        finally
        {
            Directory.Delete(scratch, recursive: true);
        }
    }

    static void Require(ImageSource source)
    {
        if (!ImageStore.IsId(source.Id))
            throw new ProblemException(ProblemKind.Invalid,
                $"\"{source.Id}\" is not a valid image ID: use a-z, 0-9, dots and dashes, at most 40 characters.");
        if (source.Sha256.Length != 64 || !source.Sha256.All(char.IsAsciiHexDigit))
            throw new ProblemException(ProblemKind.Invalid,
                "--sha256 must be the 64 hex digits that the image's publisher provides.");
        if (source.MinDiskGb < 1 || source.MinMemoryMb < 64 || source.LoginUser.Length == 0 || source.Title.Length == 0)
            throw new ProblemException(ProblemKind.Invalid,
                "An image needs a title, a login user, a minimum disk size (1 GiB or more) and a minimum memory "
                + "size (64 MiB or more).");
    }

    async Task FetchAsync(ImageSource source, string target, Action<ImageProgress> progress, CancellationToken cancel)
    {
        var isAddress = Uri.TryCreate(source.Source, UriKind.Absolute, out var address)
            && address.Scheme is "http" or "https";
        if (!isAddress && !File.Exists(source.Source))
            throw new ProblemException(ProblemKind.NotFound, $"There is no file {source.Source}.");
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(DownloadLimit);
            using var response = isAddress ? await GetAsync(address!, limit.Token) : null;
            response?.EnsureSuccessStatusCode();
            await using var from =
                response is null ? File.OpenRead(source.Source) : await response.Content.ReadAsStreamAsync(limit.Token);
            var length = response is null ? from.Length : response.Content.Headers.ContentLength;
            var sum = await CopyAsync(from, target, length, progress, limit);
            if (!sum.Equals(source.Sha256, StringComparison.OrdinalIgnoreCase))
                throw new ProblemException(ProblemKind.Invalid, "The checksum does not match: expected "
                    + $"{source.Sha256.ToLowerInvariant()}, but the file has {sum}.");
        }
        catch (OperationCanceledException error) when (!cancel.IsCancellationRequested)
        {
            throw new ProblemException(ProblemKind.Unavailable,
                $"{source.Source} was not downloaded in time.", null, error);
        }
        catch (Exception error) when (error is HttpRequestException or IOException or UnauthorizedAccessException)
        {
            throw new ProblemException(
                ProblemKind.Unavailable, $"{source.Source} could not be read: {error.Message}", null, error);
        }
    }

    /// <summary>
    /// Follows redirects to other machines, but never from one of them back to this machine, which would expose
    /// services that only this machine may reach.
    /// </summary>
    async Task<HttpResponseMessage> GetAsync(Uri address, CancellationToken cancel)
    {
        var from = address;
        for (var redirects = 0; redirects <= MaxRedirects; redirects++)
        {
            var response = await client.GetAsync(address, HttpCompletionOption.ResponseHeadersRead, cancel);
            if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308)
                || response.Headers.Location is not { } location)
                return response.EnsureSuccessStatusCode();
            response.Dispose();
            address = new Uri(address, location);
            if (address.Scheme is not ("http" or "https")
                || (!from.IsLoopback && await IsThisMachineAsync(address, cancel)))
                throw new ProblemException(
                    ProblemKind.Invalid, $"{from} redirects to {address}, which is not followed.");
        }
        throw new ProblemException(ProblemKind.Unavailable, $"{from} redirects more than {MaxRedirects} times.");
    }

    static async Task<bool> IsThisMachineAsync(Uri address, CancellationToken cancel)
    {
        if (address.IsLoopback) return true;
        var all = await System.Net.Dns.GetHostAddressesAsync(address.DnsSafeHost, cancel);
        return all.Any(
            a => System.Net.IPAddress.IsLoopback(a) || a.IsIPv6LinkLocal || a.Equals(System.Net.IPAddress.Any));
    }

    /// <summary>Copies with the size limit, and returns the checksum of the copy.</summary>
    async Task<string> CopyAsync(
        Stream from, string target, long? length, Action<ImageProgress> progress, CancellationTokenSource limit)
    {
        if (length > maxBytes) throw TooLarge();
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var to = File.Create(target);
        var buffer = new byte[1 << 20];
        long copied = 0;
        while (true)
        {
            using var stall = CancellationTokenSource.CreateLinkedTokenSource(limit.Token);
            stall.CancelAfter(StallLimit);
            var count = await from.ReadAsync(buffer, stall.Token);
            if (count == 0) break;
            copied += count;
            if (copied > maxBytes) throw TooLarge();
            hash.AppendData(buffer, 0, count);
            await to.WriteAsync(buffer.AsMemory(0, count), limit.Token);
            progress(new($"Fetching ({copied >> 20} MiB)", length > 0 ? 0.7 * copied / length.Value : 0.35));
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    ProblemException TooLarge() => new(ProblemKind.Invalid,
        $"The image is larger than {maxBytes >> 20} MiB, the limit.");

    /// <summary>Returns qcow2 or raw; rejects references to other files.</summary>
    static async Task<string> FormatAsync(string file, CancellationToken cancel)
    {
        var start = new byte[SectorBytes];
        await using (var content = File.OpenRead(file))
            _ = await content.ReadAtLeastAsync(start, start.Length, throwOnEndOfStream: false, cancel);
        if (Packed.FirstOrDefault(p => start.AsSpan().StartsWith(p.Magic)) is { Name: { } packed, Tool: { } tool })
            throw new ProblemException(ProblemKind.Invalid,
                $"The file is compressed with {packed}. Unpack it first ({tool}), and pass the checksum of the "
                + "unpacked file.");
        var shown = await new Command("qemu-img", "info", "--output=json", file).TryRunAsync(cancel);
        if (shown.ExitCode != 0)
            throw new ProblemException(ProblemKind.Invalid,
                "The file is not a disk image that QEMU can read.", shown.LastLine);
        using var info = JsonDocument.Parse(shown.Output);
        var root = info.RootElement;
        var format = root.GetProperty("format").GetString()!;
        if (format is not ("qcow2" or "raw"))
            throw new ProblemException(ProblemKind.Invalid,
                $"The image is {format}; only qcow2 and raw are supported. Convert it with qemu-img convert.");
        if (root.TryGetProperty("backing-filename", out _) || root.TryGetProperty("full-backing-filename", out _))
            throw new ProblemException(ProblemKind.Invalid,
                "The image is incomplete: it depends on another file (a backing file).");
        if (root.TryGetProperty("format-specific", out var specific)
            && specific.TryGetProperty("data", out var data) && data.TryGetProperty("data-file", out _))
            throw new ProblemException(ProblemKind.Invalid,
                "The image is incomplete: its data is in another file (an external data file).");
        if (root.GetProperty("virtual-size").GetInt64() is var size && size > MaxVirtualBytes)
            throw new ProblemException(ProblemKind.Invalid,
                $"The image's disk is {size >> 30} GiB; the limit is {MaxVirtualBytes >> 30} GiB.");
        // QEMU accepts any bytes as raw. A disk that a BIOS boots has 55 AA at the end of its first sector.
        if (format == "raw" && (new FileInfo(file).Length % SectorBytes != 0 || start is not [.., 0x55, 0xaa]))
            throw new ProblemException(
                ProblemKind.Invalid, "The file is neither qcow2 nor a raw disk: it has no boot sector.");
        return format;
    }
}
