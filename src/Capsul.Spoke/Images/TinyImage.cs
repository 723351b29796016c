using System.Security.Cryptography;
using System.Text;
using Capsul.Foundation;

namespace Capsul.Spoke.Images;

/// <summary>Progress of building an image: the current step, and 0 to 1.</summary>
public sealed record ImageProgress(string Step, double Fraction);

/// <summary>
/// The tiny guest, for the demo, tests and benchmarks: Debian's cloud kernel, and an initramfs of busybox, dropbear and
/// the QEMU guest agent, all from this machine's packages. It boots to SSH in a few seconds without KVM. The disk holds
/// only what must persist: the SSH host key and the home folder. Built in about 5 s; 70 MB.
/// </summary>
public static class TinyImage
{
    public const string Id = "tiny";

    /// <summary>First what SSH needs, then the rest; the files in <c>Tiny/</c> load them in that order.</summary>
    static readonly string[] Modules =
        ["virtio_pci", "virtio_net", "virtio_rng", "virtio_blk", "isofs", "virtio_console", "button", "evdev"];

    static readonly string[] Programs =
        ["/usr/sbin/dropbear", "/usr/bin/dropbearkey", "/usr/sbin/qemu-ga", "/usr/sbin/resize2fs"];

    const UnixFileMode Executable = (UnixFileMode)0b111_101_101;

    /// <summary>A checksum of the files in <c>Tiny/</c>.</summary>
    static string Recipe
    {
        get
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            var assembly = typeof(TinyImage).Assembly;
            foreach (var name in assembly.GetManifestResourceNames().Where(IsScript).Order(StringComparer.Ordinal))
            {
                using var stream = assembly.GetManifestResourceStream(name)!;
                hash.AppendData(SHA256.HashData(stream));
            }
            return Convert.ToHexStringLower(hash.GetHashAndReset());
        }
    }

    static bool IsScript(string resource) => resource.StartsWith("tiny/", StringComparison.Ordinal);

    /// <summary>Whether an image is what this version of Capsul would build. Always true for other images.</summary>
    public static bool IsCurrent(Image image) => image.Id != Id || image.Recipe == Recipe;

    /// <summary>Builds the image and makes it current.</summary>
    /// <exception cref="ProblemException">Unavailable: a package or program is missing; the message names
    /// it.</exception>
    public static async Task<Image> BuildAsync(
        ImageStore store, Action<ImageProgress> progress, CancellationToken cancel)
    {
        var scratch = store.MakeScratch();
        try
        {
            progress(new("Fetching Debian's cloud kernel", 0.05));
            var kernel = Path.Combine(scratch, "linux");
            var release = await LinuxKernel.FetchAsync(scratch, kernel, cancel);
            progress(new("Unpacking the kernel", 0.5));
            var files = Directory.CreateDirectory(Path.Combine(scratch, "files")).FullName;
            await LinuxKernel.ExtractAsync(
                Path.Combine(kernel, "boot", $"vmlinuz-{release}"), Path.Combine(files, "kernel"), cancel);
            progress(new("Building the initramfs", 0.7));
            await WriteInitrdAsync(
                Path.Combine(files, "initrd"), Path.Combine(kernel, "lib/modules", release), release, cancel);
            progress(new("Creating the disk", 0.9));
            await MakeDiskAsync(Path.Combine(files, "disk.qcow2"), scratch, cancel);
            var image = await store.AddAsync(
                new Image(Id, "Tiny Linux (busybox)", "", "capsul", MinDiskGb: 1, MinMemoryMb: 128,
                    CommandLine: "console=ttyS0 quiet panic=5", Recipe: Recipe), files, cancel);
            progress(new("Done", 1));
            return image;
        }
        finally
        {
            Directory.Delete(scratch, recursive: true);
        }
    }

    static async Task WriteInitrdAsync(string target, string modules, string release, CancellationToken cancel)
    {
        await using var output = File.Create(target);
        using var cpio = new CpioWriter(output);
        foreach (var folder in (string[])["dev", "proc", "sys", "seed",
            "disk", "home", "root", "run", "tmp", "var/run", "etc/acpi/PWRF"])
            cpio.AddFolder(folder);
        await AddProgramsAsync(cpio, cancel);
        AddModules(cpio, modules, $"lib/modules/{release}");
        cpio.AddText("init", await ScriptAsync("init", cancel), Executable);
        cpio.AddText("etc/late", await ScriptAsync("late", cancel), Executable);
        cpio.AddText("sbin/chpasswd", await ScriptAsync("chpasswd", cancel), Executable);
        cpio.AddText("etc/dhcp", await ScriptAsync("dhcp", cancel), Executable);
        // The agent calls shutdown with halt, reboot or poweroff flags; the power button does the same.
        const string shutdown = "#!/bin/sh\ncase \"$*\" in *-r*) exec reboot ;; *) exec poweroff ;; esac\n";
        cpio.AddText("sbin/shutdown", shutdown, Executable);
        cpio.AddText("etc/acpi/PWRF/00000080", shutdown, Executable);
        // Root has no password and cannot log in over SSH (dropbear -w); the login user can use su.
        cpio.AddText("etc/passwd", "root::0:0:root:/root:/bin/sh\ncapsul:*:1000:1000:capsul:/home/capsul:/bin/sh\n");
        cpio.AddText("etc/group", "root:x:0:\ncapsul:x:1000:\n");
        cpio.AddText("etc/shells", "/bin/sh\n");
        cpio.AddText("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n");
        cpio.AddText("etc/inittab", "::sysinit:/etc/late\nttyS0::respawn:/bin/getty -L ttyS0 115200 vt100\n"
            + "::ctrlaltdel:/bin/reboot\n::shutdown:/bin/umount -a -r\n");
    }

    static async Task AddProgramsAsync(CpioWriter cpio, CancellationToken cancel)
    {
        // The set-user-id bit is for su; busybox drops it for everything else.
        cpio.AddFile("bin/busybox", await File.ReadAllBytesAsync("/bin/busybox", cancel),
            Executable | UnixFileMode.SetUser);
        var applets = await new Command("/bin/busybox", "--list").RunAsync(cancel);
        foreach (var applet in applets.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Where(a => a != "busybox"))
            cpio.AddLink($"bin/{applet}", "busybox");
        cpio.AddLink("sbin/modprobe", "../bin/busybox");
        var libraries = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var program in Programs)
        {
            if (!File.Exists(program))
                throw new ProblemException(ProblemKind.Unavailable, $"{program} is missing; the tiny guest needs the "
                    + "packages dropbear-bin, qemu-guest-agent and e2fsprogs.");
            cpio.AddFile($"bin/{Path.GetFileName(program)}", await File.ReadAllBytesAsync(program, cancel), Executable);
            var needs = await new Command("ldd", program).RunAsync(cancel);
            libraries.UnionWith(needs.Output.Split([' ', '\t', '\n'], StringSplitOptions.RemoveEmptyEntries)
                .Where(w => w.StartsWith("/lib", StringComparison.Ordinal)));
        }
        foreach (var library in libraries)
            cpio.AddFile(library[1..], await File.ReadAllBytesAsync(library, cancel), Executable);
    }

    /// <summary>
    /// Adds the modules in one folder, and the list from which modprobe loads them in the right order in one call.
    /// </summary>
    static void AddModules(CpioWriter cpio, string from, string to)
    {
        var modules = LinuxKernel.Modules(from, Modules);
        var names = modules.ToDictionary(
            m => LinuxKernel.ModuleName(m.File), m => Path.GetFileName(m.File), StringComparer.Ordinal);
        var needs = modules.ToDictionary(m => LinuxKernel.ModuleName(m.File), m => m.Needs, StringComparer.Ordinal);
        var list = new StringBuilder();
        foreach (var (file, _) in modules)
        {
            cpio.AddFile($"{to}/{Path.GetFileName(file)}", File.ReadAllBytes(file), (UnixFileMode)0b110_100_100);
            // As depmod writes it: all dependencies, the ones to load first at the end.
            list.Append(Path.GetFileName(file)).Append(':');
            foreach (var need in Deep(LinuxKernel.ModuleName(file))
                .Reverse().Distinct(StringComparer.Ordinal).Reverse())
                list.Append(' ').Append(names[need]);
            list.Append('\n');
        }
        cpio.AddText($"{to}/modules.dep", list.ToString());

        IEnumerable<string> Deep(string module) => needs[module].SelectMany(n => Deep(n).Prepend(n));
    }

    static async Task MakeDiskAsync(string target, string scratch, CancellationToken cancel)
    {
        var raw = Path.Combine(scratch, "disk.raw");
        await using (var file = File.Create(raw))
            file.SetLength(64 << 20);
        // Without a journal it would be faster, but VMs are sometimes turned off hard. The guest grows it to its disk.
        await new Command("mke2fs", "-q", "-t", "ext4", "-F", "-m", "0", "-L", "capsul", raw).RunAsync(cancel);
        await new Command("qemu-img", "convert", "-O", "qcow2", raw, target).RunAsync(cancel);
    }

    static async Task<string> ScriptAsync(string name, CancellationToken cancel)
    {
        await using var stream = typeof(TinyImage).Assembly.GetManifestResourceStream($"tiny/{name}")!;
        using var reader = new StreamReader(stream);
        return await reader.ReadToEndAsync(cancel);
    }
}
