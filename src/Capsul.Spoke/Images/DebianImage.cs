using Capsul.Foundation;

namespace Capsul.Spoke.Images;

/// <summary>
/// Debian 12 with cloud-init, built on this machine with mmdebstrap from the mirrors that its apt uses. The disk boots
/// under SeaBIOS: an MBR, GRUB in the gap behind it, one ext4 partition that the first boot grows. GRUB reads a fixed
/// configuration that names <c>/vmlinuz</c> and <c>/initrd.img</c>, the links that Debian updates with every kernel
/// upgrade, so no boot loader is installed inside and none has to be updated. Takes about two minutes and 2 GiB of
/// scratch space.
/// </summary>
public static class DebianImage
{
    public const string Id = "debian-12";

    const string Suite = "bookworm", Label = "debian-root";

    /// <summary>
    /// Size of the image's disk before the first boot grows it, MiB; the partition begins after the first MiB.
    /// </summary>
    const int DiskMb = 1800, StartMb = 1;

    static readonly string[] Packages =
    [
        "linux-image-cloud-amd64", "cloud-init", "cloud-guest-utils", "openssh-server", "qemu-guest-agent",
        "systemd-sysv", "systemd-resolved", "dbus", "sudo", "ca-certificates", "curl", "e2fsprogs", "iproute2",
        "iputils-ping", "less", "nano", "netbase", "procps", "zstd",
    ];

    /// <summary>
    /// Only the cloud-init modules that a VM needs: the others have no effect here but take half a minute on a slow
    /// CPU. The host keys must be printed on the console: they are read there, over a path that the network cannot
    /// forge.
    /// </summary>
    const string CloudConfig = """
        datasource_list: [NoCloud, None]
        cloud_init_modules: [
          bootcmd, write-files, growpart, resizefs, set_hostname, update_hostname, update_etc_hosts,
          users-groups, ssh, keys-to-console]
        cloud_config_modules: [set-passwords, timezone, runcmd]
        cloud_final_modules: [
          package-update-upgrade-install, scripts-per-once, scripts-per-boot, scripts-per-instance,
          scripts-user, final-message]
        locale: false
        manage_etc_hosts: true

        """;

    const string GrubConfig = $$"""
        serial --unit=0 --speed=115200
        terminal_input serial console
        terminal_output serial console
        set timeout=0
        set root=(hd0,msdos1)
        linux /vmlinuz root=LABEL={{Label}} ro console=tty0 console=ttyS0,115200 quiet
        initrd /initrd.img
        boot

        """;

    /// <summary>Builds the image and makes it current. Needs root.</summary>
    /// <exception cref="ProblemException">Unavailable: not root, or a program is missing or fails; the message says
    /// which.</exception>
    public static async Task<Image> BuildAsync(
        ImageStore store, Action<ImageProgress> progress, CancellationToken cancel)
    {
        if (!Environment.IsPrivilegedProcess)
            throw new ProblemException(
                ProblemKind.Unavailable, "Building the Debian image needs root: start Capsul under sudo.");
        var scratch = store.MakeScratch();
        try
        {
            var root = Path.Combine(scratch, "root");
            progress(new("Installing Debian into a folder", 0.02));
            await InstallAsync(root, progress, cancel);
            progress(new("Configuring Debian", 0.8));
            await SetUpAsync(root, cancel);
            progress(new("Creating the disk", 0.85));
            var raw = Path.Combine(scratch, "disk.raw");
            await MakeDiskAsync(root, raw, scratch, cancel);
            var files = Directory.CreateDirectory(Path.Combine(scratch, "files")).FullName;
            await new Command("qemu-img", "convert", "-O", "qcow2", raw, Path.Combine(
                files, "disk.qcow2"))
            { Timeout = TimeSpan.FromMinutes(5) }.RunAsync(cancel);
            File.Delete(raw);
            var image = await store.AddAsync(
                new Image(Id, "Debian 12 (bookworm)", "", "debian", MinDiskGb: 4, MinMemoryMb: 512), files, cancel);
            progress(new("Done", 1));
            return image;
        }
        finally
        {
            Directory.Delete(scratch, recursive: true);
        }
    }

    static async Task InstallAsync(string root, Action<ImageProgress> progress, CancellationToken cancel)
    {
        var lines = 0;
        string[] options = ["--mode=root", "--variant=minbase",
            $"--include={string.Join(',', Packages)}", "--aptopt=Acquire::Retries \"3\"", "--verbose",
            "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-include=/usr/share/doc/*/copyright"];
        await new Command("mmdebstrap", [.. options, Suite, root, .. await SourcesAsync(cancel)])
        {
            Timeout = TimeSpan.FromMinutes(20),
            // A full run prints about 1500 lines; this maps them roughly to 2 to 80 percent.
            OnLine = _ =>
            {
                if (Interlocked.Increment(ref lines) is var n && n % 50 == 0)
                    progress(new("Installing Debian into a folder", Math.Min(0.78, 0.02 + n * 0.0005)));
            },
        }.RunAsync(cancel);
    }

    /// <summary>
    /// This machine's apt sources for bookworm, as lines for the new system's apt, which keeps them. Without any
    /// (another release, another distribution) mmdebstrap uses Debian's own mirrors.
    /// </summary>
    static async Task<IReadOnlyList<string>> SourcesAsync(CancellationToken cancel)
    {
        var shown = await new Command(
            "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages").RunAsync(cancel);
        return Sources(shown.Output);
    }

    /// <summary>Source lines for all suites of bookworm in apt's output; empty if the main one is missing.</summary>
    internal static IReadOnlyList<string> Sources(string targets)
    {
        var pairs = targets.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Distinct(StringComparer.Ordinal)
            .Select(l => l.Split(' ')).Where(p => p.Length == 2).ToList();
        return pairs.Exists(p => p[1] == Suite)
            ? [.. pairs.Where(p => p[1] is Suite or $"{Suite}-updates" or $"{Suite}-security")
                .Select(p => $"deb {p[0]} {p[1]} main")]
            : [];
    }

    static async Task SetUpAsync(string root, CancellationToken cancel)
    {
        await WriteAsync("etc/cloud/cloud.cfg.d/90-capsul.cfg", CloudConfig);
        await WriteAsync("boot/grub/grub.cfg", GrubConfig);
        await WriteAsync("etc/fstab", $"LABEL={Label} / ext4 errors=remount-ro,discard 0 1\n");
        await WriteAsync("etc/hostname", "debian\n");
        // The setting from the seed, in the file to which cloud-init would write it: a change there would make it
        // restart SSH after the first login.
        await WriteAsync("etc/ssh/sshd_config.d/50-cloud-init.conf", "PasswordAuthentication no\n");
        // Empty, not missing: systemd then creates one at the first boot of each VM.
        await WriteAsync("etc/machine-id", "");
        foreach (var key in Directory.GetFiles(Path.Combine(root, "etc/ssh"), "ssh_host_*"))
            File.Delete(key);
        foreach (var folder in (string[])["var/cache/apt", "var/lib/apt/lists", "var/log"])
        {
            foreach (var file in Directory.GetFiles(Path.Combine(root, folder), "*", SearchOption.AllDirectories))
                File.Delete(file);
        }
        await new Command("chroot", root, "systemctl", "enable", "systemd-networkd", "ssh", "serial-getty@ttyS0")
            .RunAsync(cancel);
        // Would delay the boot on a network that may have no route out.
        await new Command("chroot", root, "systemctl", "mask", "systemd-networkd-wait-online.service",
            "apt-daily.timer", "apt-daily-upgrade.timer").RunAsync(cancel);

        Task WriteAsync(string path, string text)
        {
            var file = Path.Combine(root, path);
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            return File.WriteAllTextAsync(file, text, cancel);
        }
    }

    /// <summary>Creates the disk without mounting or attaching anything.</summary>
    static async Task MakeDiskAsync(string root, string raw, string scratch, CancellationToken cancel)
    {
        await using (var empty = File.Create(raw))
            empty.SetLength((long)DiskMb << 20);
        // GRUB 2.06 does not read the two newer features.
        await new Command("mke2fs", "-q", "-t", "ext4", "-F", "-L", Label, "-O",
            "^metadata_csum_seed,^orphan_file", "-E", $"offset={StartMb << 20}", "-d", root,
            raw, $"{DiskMb - StartMb}M")
        { Timeout = TimeSpan.FromMinutes(5) }.RunAsync(cancel);
        var core = Path.Combine(scratch, "core.img");
        await new Command("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/boot/grub",
            "biosdisk", "part_msdos", "ext2", "linux", "normal", "serial", "terminal", "boot", "echo").RunAsync(cancel);
        await using var disk = new FileStream(raw, FileMode.Open, FileAccess.ReadWrite);
        disk.Write(BootSector(await File.ReadAllBytesAsync("/usr/lib/grub/i386-pc/boot.img", cancel),
            StartMb * 2048u, (DiskMb - StartMb) * 2048u));
        var image = await File.ReadAllBytesAsync(core, cancel);
        if (image.Length > (StartMb << 20) - 512)
            throw new ProblemException(
                ProblemKind.Unavailable, "GRUB does not fit before the first partition.", $"{image.Length} bytes");
        disk.Write(image);
    }

    /// <summary>
    /// The first sector: GRUB's boot code (446 bytes, which as delivered loads its core from sector 1), one bootable
    /// Linux partition, and the signature. Heads and cylinders are marked as out of range, as on every modern disk.
    /// </summary>
    internal static byte[] BootSector(ReadOnlySpan<byte> boot, uint firstSector, uint sectors)
    {
        var sector = new byte[512];
        boot[..440].CopyTo(sector);
        ReadOnlySpan<byte> entry = [0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff];
        entry.CopyTo(sector.AsSpan(446));
        BitConverter.TryWriteBytes(sector.AsSpan(454), firstSector);
        BitConverter.TryWriteBytes(sector.AsSpan(458), sectors);
        sector[510] = 0x55;
        sector[511] = 0xaa;
        return sector;
    }
}
