using System.Buffers.Binary;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Spoke.Images;

/// <summary>
/// Unpacks Debian's cloud kernel: the ELF kernel that QEMU starts without a boot loader, and modules.
/// </summary>
static class LinuxKernel
{
    /// <summary>
    /// Fetches the package that linux-image-cloud-amd64 depends on and unpacks it into a folder. Takes about 2 s.
    /// </summary>
    /// <returns>The kernel's release, such as 6.1.0-40-cloud-amd64.</returns>
    /// <exception cref="ProblemException">Unavailable: the mirrors do not have it, even after updating the package
    /// lists.</exception>
    public static async Task<string> FetchAsync(string scratch, string target, CancellationToken cancel)
    {
        if (await TryFetchAsync(scratch, target, cancel) is { } release) return release;
        // A new machine has no package lists yet, and an old one's may be outdated.
        await new Command("apt-get", "update", "-q") { Timeout = TimeSpan.FromMinutes(5) }.RunAsync(cancel);
        return await TryFetchAsync(scratch, target, cancel)
            ?? throw new ProblemException(ProblemKind.Unavailable,
                "Debian's cloud kernel (package linux-image-cloud-amd64) could not be downloaded; check the "
                + "network connection.");
    }

    static async Task<string?> TryFetchAsync(string scratch, string target, CancellationToken cancel)
    {
        var shown = await new Command(
            "apt-cache", "depends", "--no-recommends", "--no-suggests", "linux-image-cloud-amd64").TryRunAsync(cancel);
        var package = shown.Output.Split('\n', StringSplitOptions.TrimEntries)
            .Select(l => l.Split("Depends: "))
            .Where(p => p.Length == 2 && p[1].StartsWith("linux-image-", StringComparison.Ordinal)).Select(p => p[1])
            .FirstOrDefault();
        if (package is null) return null;
        var debs = Directory.CreateDirectory(Path.Combine(scratch, "debs")).FullName;
        var fetched = await new Command("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package)
        { WorkingDirectory = debs, Timeout = TimeSpan.FromMinutes(5) }.TryRunAsync(cancel);
        if (fetched.ExitCode != 0) return null;
        await new Command("dpkg-deb", "--extract", Directory.GetFiles(debs).Single(), target).RunAsync(cancel);
        return package["linux-image-".Length..];
    }

    /// <summary>
    /// Extracts the uncompressed kernel (an ELF file with a PVH entry, which QEMU starts directly) from a bzImage. Its
    /// position is in the setup header (Documentation/x86/boot.rst): setup_sects, payload_offset, payload_length.
    /// </summary>
    public static async Task ExtractAsync(string vmlinuz, string target, CancellationToken cancel)
    {
        var image = await File.ReadAllBytesAsync(vmlinuz, cancel);
        if (image.Length < 0x250 || !image.AsSpan(0x202, 4).SequenceEqual("HdrS"u8))
            throw new ProblemException(
                ProblemKind.Unavailable, $"{Path.GetFileName(vmlinuz)} is not a Linux kernel image.");
        var setup = (image[0x1f1] == 0 ? 4 : image[0x1f1]) + 1;
        var start = setup * 512 + BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x248));
        // The last four bytes are the uncompressed size, which the tools would report as corruption.
        var payload = image.AsMemory(start, BinaryPrimitives.ReadInt32LittleEndian(image.AsSpan(0x24c)) - 4);
        // xz only accepts files with its suffix, which it removes; the others are given the target.
        var packed = target + ".xz";
        await File.WriteAllBytesAsync(packed, payload, cancel);
        await Unpacker(payload.Span, packed, target).RunAsync(cancel);
        File.Delete(packed);
        await using var elf = File.OpenRead(target);
        var magic = new byte[4];
        await elf.ReadExactlyAsync(magic, cancel);
        if (!magic.AsSpan().SequenceEqual("\u007fELF"u8))
            throw new ProblemException(
                ProblemKind.Unavailable, $"{Path.GetFileName(vmlinuz)} did not unpack to an ELF kernel.");
    }

    /// <summary>The named modules and all their dependencies, each after its own dependencies.</summary>
    /// <returns>Files of the modules, and for each its dependencies' names.</returns>
    public static IReadOnlyList<(string File, IReadOnlyList<string> Needs)> Modules(
        string folder, IEnumerable<string> names)
    {
        var all = Directory.GetFiles(folder, "*.ko", SearchOption.AllDirectories)
            .ToDictionary(f => ModuleName(f), f => f, StringComparer.Ordinal);
        var found = new List<(string, IReadOnlyList<string>)>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var name in names) Add(name);
        return found;

        void Add(string name)
        {
            if (!seen.Add(name)) return;
            if (!all.TryGetValue(name, out var file))
                throw new ProblemException(ProblemKind.Unavailable, $"The kernel has no module {name}.", folder);
            var needs = Needs(File.ReadAllBytes(file));
            foreach (var need in needs) Add(need);
            found.Add((file, needs));
        }
    }

    /// <summary>Module names have underscores where file names may have dashes.</summary>
    public static string ModuleName(string file) => Path.GetFileNameWithoutExtension(file).Replace('-', '_');

    /// <summary>The depends= field among a module's .modinfo strings.</summary>
    static IReadOnlyList<string> Needs(ReadOnlySpan<byte> module)
    {
        var at = module.IndexOf("\0depends="u8);
        if (at < 0) return [];
        var rest = module[(at + 9)..];
        return Encoding.ASCII.GetString(rest[..rest.IndexOf((byte)0)])
            .Split(',', StringSplitOptions.RemoveEmptyEntries).Select(n => n.Replace('-', '_')).ToList();
    }

    static Command Unpacker(ReadOnlySpan<byte> start, string from, string to) => start switch
    {
        [0x02, 0x21, 0x4c, 0x18, ..] => new Command("lz4", "-d", "-f", "-q", from, to),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => new Command("zstd", "-d", "-f", "-q", from, "-o", to),
        [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', ..] => new Command("xz", "-d", "-f", from),
        _ => throw new ProblemException(ProblemKind.Unavailable,
            "The kernel's compression format is not supported (lz4, zstd and xz are)."),
    };
}
