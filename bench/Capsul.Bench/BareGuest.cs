using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Spoke.Images;

namespace Capsul.Bench;

/// <summary>
/// The baseline: the same image on the same machine type and accelerator, started by nobody but QEMU. With user-mode
/// networking it is timed from the start of the process to the end of an SSH login; disk and seed are made before the
/// clock starts.
/// </summary>
/// <param name="kvm">The accelerator is KVM, else TCG; as the Spoke's own probe found.</param>
sealed class BareGuest(
    ImageStore images, Image image, string folder, string publicKey, int memoryMb, bool kvm)
{
    static readonly TimeSpan BootLimit = TimeSpan.FromMinutes(5), BannerLimit = TimeSpan.FromMilliseconds(500);

    public async Task<TimeSpan> RunAsync(Visitor visitor, int port, CancellationToken cancel)
    {
        await PrepareAsync(cancel);
        var clock = Stopwatch.StartNew();
        using var qemu = Start(
            [], ["-netdev", $"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22",
                "-device", "virtio-net-pci,netdev=n,romfile="]);
        try
        {
            await Within.LimitAsync(BootLimit, "The boot of the bare guest",
                token => AwaitBannerAsync(port, token), cancel);
            var banner = clock.Elapsed;
            await visitor.LoginAsync(new SshAddress(image.LoginUser, "127.0.0.1", port), "true", cancel);
            var took = clock.Elapsed;
            Console.WriteLine($"       bare: banner {Figures.Text(banner.TotalSeconds)} s, "
                + $"logged in {Figures.Text(took.TotalSeconds)} s");
            return took;
        }
        finally
        {
            qemu.Kill();
            await qemu.WaitForExitAsync(CancellationToken.None);
        }
    }

    string Disk => Path.Combine(folder, "bare.qcow2");

    string Seed => Path.Combine(folder, "bare-seed.iso");

    /// <summary>A new disk and a seed.</summary>
    public async Task PrepareAsync(CancellationToken cancel)
    {
        File.Delete(Disk);
        await new Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", images.Disk(image),
            Disk, "25G").RunAsync(cancel);
        await WriteSeedAsync(Seed, cancel);
    }

    async Task WriteSeedAsync(string iso, CancellationToken cancel)
    {
        var files = Directory.CreateDirectory(Path.Combine(folder, "bare-seed")).FullName;
        await File.WriteAllTextAsync(Path.Combine(files, "user-data"),
            $"#cloud-config\nhostname: \"bare\"\nssh_authorized_keys:\n  - \"{publicKey.Trim()}\"\n", cancel);
        await File.WriteAllTextAsync(Path.Combine(files, "meta-data"),
            "instance-id: bare\nlocal-hostname: bare\n", cancel);
        await new Command("genisoimage", "-quiet", "-output", iso, "-volid", "cidata", "-joliet", "-rock", files)
            .RunAsync(cancel);
    }

    /// <summary>Starts it; the caller kills it.</summary>
    /// <param name="within">A program that starts it, with its arguments, such as nsenter; empty: none.</param>
    /// <param name="network">QEMU's arguments for its network card.</param>
    public Process Start(IReadOnlyList<string> within, IReadOnlyList<string> network)
    {
        string[] all = [.. within,
            "qemu-system-x86_64", "-machine", $"q35,accel={(kvm ? "kvm" : "tcg")}", "-cpu", kvm ? "host" : "max",
            "-m", memoryMb.ToString(), "-smp", "1", "-nodefaults", "-no-user-config", "-display", "none",
            "-kernel", images.Kernel(image)!, "-initrd", images.Initrd(image)!,
            "-append", image.CommandLine ?? "console=ttyS0",
            "-drive", $"file={Disk},if=virtio,format=qcow2,cache=writeback",
            "-drive", $"file={Seed},if=virtio,format=raw,readonly=on", .. network,
            "-serial", $"file:{Path.Combine(folder, "bare.log")}", "-device", "virtio-rng-pci"];
        var info = new ProcessStartInfo(all[0]) { UseShellExecute = false };
        foreach (var argument in all.Skip(1)) info.ArgumentList.Add(argument);
        return Process.Start(info)!;
    }

    /// <summary>
    /// User-mode networking accepts before the guest is there, and what it accepted then leads nowhere; so only a
    /// banner counts, and every look is a new connection, while the last few may still be answered.
    /// </summary>
    static async Task AwaitBannerAsync(int port, CancellationToken cancel)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var looks = new List<Task<bool>>();
        try
        {
            while (true)
            {
                looks.RemoveAll(l => l.IsCompleted);
                looks.Add(HasBannerAsync(port, enough.Token));
                var pause = Task.Delay(Within.LookEvery, cancel);
                while (await Task.WhenAny([pause, .. looks.Where(l => !l.IsCompleted)]) is Task<bool> look)
                {
                    if (await look) return;
                }
                await pause;
            }
        }
        finally
        {
            await enough.CancelAsync();
            await Task.WhenAll(looks);
        }
    }

    static async Task<bool> HasBannerAsync(int port, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(BannerLimit);
        try
        {
            using var client = new TcpClient();
            await client.ConnectAsync("127.0.0.1", port, limit.Token);
            var start = new byte[4];
            await client.GetStream().ReadExactlyAsync(start, limit.Token);
            return Encoding.ASCII.GetString(start) == "SSH-";
        }
        catch (Exception error) when (error is SocketException or IOException or OperationCanceledException)
        {
            return false;
        }
    }
}
