using System.Text.Json;
using Capsul.Foundation;
using Capsul.Spoke.Images;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Whether guests run on KVM, and the reason in a sentence for <c>capsul doctor</c>.</summary>
public sealed record KvmVerdict(bool Use, string Why);

/// <summary>
/// Decides between KVM and TCG by trying. /dev/kvm may be there, and libvirt may say "kvm", on machines where a guest's kernel
/// never gets anywhere (seen under nested virtualisation), so only a guest that came up counts. The verdict is kept with the kernel
/// version and the processor's name, and is asked for again when one of them changes.
/// </summary>
public sealed class KvmProbe(Settings settings, ImageStore images, TimeProvider time)
{
    /// <summary>A guest on a working KVM prints the marker within a second.</summary>
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(8);

    /// <summary>Printed by the tiny guest's first program when its command line says so.</summary>
    public const string Marker = "CAPSUL-PROBE-OK", Argument = "capsul.probe";

    sealed record Kept(string Machine, bool Use, string Why);

    string KeptFile => Path.Combine(settings.Data, "spoke", "kvm.json");

    /// <summary>The verdict: what is set, what is known, or what a probe boot shows (8 s at most).</summary>
    public async Task<KvmVerdict> DecideAsync(CancellationToken cancel)
    {
        if (settings.Kvm != "auto") return new KvmVerdict(settings.Kvm == "on", $"CAPSUL_KVM={settings.Kvm}.");
        if (!File.Exists("/dev/kvm")) return new KvmVerdict(false, "This machine has no /dev/kvm.");
        var machine = Machine(await File.ReadAllTextAsync("/proc/version", cancel), await File.ReadAllLinesAsync("/proc/cpuinfo", cancel));
        if (Read(KeptFile) is { } kept && kept.Machine == machine) return new KvmVerdict(kept.Use, kept.Why);
        if (images.List().FirstOrDefault(i => images.Kernel(i) is not null && images.Initrd(i) is not null) is not { } image)
            return new KvmVerdict(false, "There is no tiny image yet to try KVM with.");
        var verdict = await ProbeAsync(images.Kernel(image)!, images.Initrd(image)!, cancel);
        Directory.CreateDirectory(Path.GetDirectoryName(KeptFile)!);
        await File.WriteAllTextAsync(KeptFile, JsonSerializer.Serialize(new Kept(machine, verdict.Use, verdict.Why)), cancel);
        return verdict;
    }

    /// <summary>Forgets what was found out, so that the next question is a new probe.</summary>
    public void Forget() => File.Delete(KeptFile);

    /// <summary>Boots a kernel on KVM and waits for the marker on its serial line.</summary>
    async Task<KvmVerdict> ProbeAsync(string kernel, string initrd, CancellationToken cancel)
    {
        using var done = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var seen = false;
        var began = time.GetTimestamp();
        var command = new Command("qemu-system-x86_64", "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd,
            "-append", $"console=ttyS0 quiet panic=-1 {Argument}")
        {
            Timeout = Limit,
            OnLine = line =>
            {
                if (!line.Contains(Marker, StringComparison.Ordinal)) return;
                seen = true;
                done.Cancel();
            },
        };
        try
        {
            var result = await command.TryRunAsync(done.Token);
            return seen ? Works() : new KvmVerdict(false, $"A guest on KVM did not come up: {result.LastLine}");
        }
        catch (OperationCanceledException) when (seen)
        {
            return Works();
        }
        catch (ProblemException error)
        {
            return new KvmVerdict(false, $"A guest on KVM did not come up within {Limit.TotalSeconds:0} s. {error.Message}");
        }

        KvmVerdict Works() => new(true, $"A guest on KVM came up in {time.GetElapsedTime(began).TotalSeconds:0.0} s.");
    }

    /// <summary>What a verdict holds for: kernel and processor.</summary>
    internal static string Machine(string version, IReadOnlyList<string> cpuinfo) =>
        $"{string.Join(' ', version.Split(' ').Take(3))} on {cpuinfo.FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(':', 2)[1].Trim() ?? "unknown"}";

    static Kept? Read(string file)
    {
        try
        {
            return File.Exists(file) ? JsonSerializer.Deserialize<Kept>(File.ReadAllText(file)) : null;
        }
        catch (JsonException)
        {
            return null; // Cut off by a crash; the probe says it again.
        }
    }
}
