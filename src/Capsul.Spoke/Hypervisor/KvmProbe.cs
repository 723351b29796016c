using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Spoke.Hypervisor;

/// <summary>Whether guests run on KVM, and the reason in a sentence for <c>capsul doctor</c>.</summary>
public sealed record KvmVerdict(bool Use, string Why);

/// <summary>
/// Decides between KVM and TCG by trying. On some machines /dev/kvm exists and libvirt reports KVM, but a guest's
/// kernel never boots (seen under nested virtualization, where 16-bit code still ran), so only a guest that reaches
/// 64-bit mode counts. The guest is our own boot sector: no image is needed. The verdict is stored with the kernel
/// version, CPU model and boot ID, and the probe is repeated when one of them changes.
/// </summary>
public sealed class KvmProbe(Settings settings, TimeProvider time)
{
    /// <summary>A guest on a working KVM prints the marker within a second.</summary>
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(8);

    const string Marker = "CAPSUL-PROBE-OK";

    /// <summary>KvmProbe.s, up to the padding.</summary>
    const string BootSector =
        "fa31c08ed88ec08ed0bc007cbf0010b90018fcf3abc70600100320c70600200330c7060030830066b8001000000f22d8"
        + "0f20e0660d200600000f22e066b9800000c00f32660d000100000f300f0116a87c0f20c06683e0fb660d030000800f22"
        + "c0ea667c080031c00fa20f31f20f2ac0be847c000066baf803ac84c07403eeebf8f4ebfd43415053554c2d50524f4245"
        + "2d4f4b0d0a006690000000000000000000000000009a20000f00987c";

    sealed record Kept(string Machine, bool Use, string Why);

    string KeptFile => Path.Combine(settings.Data, "spoke", "kvm.json");

    /// <summary>The verdict: from the setting, the stored result, or a probe boot (8 s at most).</summary>
    public async Task<KvmVerdict> DecideAsync(CancellationToken cancel)
    {
        if (settings.Kvm != "auto") return new KvmVerdict(settings.Kvm == "on", $"CAPSUL_KVM={settings.Kvm}.");
        if (!File.Exists("/dev/kvm")) return new KvmVerdict(false, "This machine has no /dev/kvm.");
        var machine = Machine(
            await File.ReadAllTextAsync("/proc/version", cancel), await File.ReadAllLinesAsync("/proc/cpuinfo", cancel),
            await File.ReadAllTextAsync("/proc/sys/kernel/random/boot_id", cancel));
        if (Read(KeptFile) is { } kept && kept.Machine == machine) return new KvmVerdict(kept.Use, kept.Why);
        var verdict = await ProbeAsync("kvm", "host", cancel);
        Directory.CreateDirectory(Path.GetDirectoryName(KeptFile)!);
        await DataFolder.WriteWholeAsync(
            KeptFile, JsonSerializer.SerializeToUtf8Bytes(new Kept(machine, verdict.Use, verdict.Why)), cancel);
        return verdict;
    }

    /// <summary>Deletes the stored result, so that the next call probes again.</summary>
    public void Forget() => File.Delete(KeptFile);

    /// <summary>Boots the sector and waits for the marker on the serial port.</summary>
    /// <param name="accelerator">kvm, or tcg to verify that the sector itself works.</param>
    /// <param name="cpu">QEMU's name of a CPU model.</param>
    internal async Task<KvmVerdict> ProbeAsync(string accelerator, string cpu, CancellationToken cancel)
    {
        using var done = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var seen = false;
        var began = time.GetTimestamp();
        var sector = Path.Combine(Path.GetTempPath(), $"capsul-probe-{Path.GetRandomFileName()}");
        await File.WriteAllBytesAsync(sector, Sector(), cancel);
        var command = new Command(
            "qemu-system-x86_64", "-machine", $"pc,accel={accelerator}", "-cpu", cpu, "-m", "32", "-nodefaults",
            "-no-user-config", "-display", "none", "-no-reboot", "-serial",
            "stdio", "-drive", $"file={sector},format=raw,if=ide,readonly=off")
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
            return seen ? Works() : new KvmVerdict(false, $"A KVM guest did not boot: {result.LastLine}");
        }
        catch (OperationCanceledException) when (seen)
        {
            return Works();
        }
        catch (ProblemException error)
        {
            return new KvmVerdict(false, $"A KVM guest did not boot within {Limit.TotalSeconds:0} s. {error.Message}");
        }
        finally
        {
            File.Delete(sector);
        }

        KvmVerdict Works() => new(true, $"A KVM guest booted in {time.GetElapsedTime(began).TotalSeconds:0.0} s.");
    }

    /// <summary>512 bytes that a BIOS boots: the last two are the boot signature.</summary>
    static byte[] Sector()
    {
        var sector = new byte[512];
        Convert.FromHexString(BootSector).CopyTo(sector, 0);
        (sector[510], sector[511]) = (0x55, 0xaa);
        return sector;
    }

    /// <summary>
    /// What a verdict depends on: kernel, CPU, and the boot, since a module may be loaded or BIOS settings changed.
    /// </summary>
    internal static string Machine(string version, IReadOnlyList<string> cpuinfo, string boot)
    {
        var cpu = cpuinfo.FirstOrDefault(
            l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(':', 2)[1].Trim() ?? "unknown";
        return $"{string.Join(' ', version.Split(' ').Take(3))} on {cpu}, boot {boot.Trim()}";
    }

    static Kept? Read(string file)
    {
        try
        {
            return File.Exists(file) ? JsonSerializer.Deserialize<Kept>(File.ReadAllText(file)) : null;
        }
        catch (JsonException)
        {
            return null; // Truncated by a crash; the probe is repeated.
        }
    }
}
