using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;

namespace Capsul.Tests.Spoke.Hypervisor;

public sealed class KvmProbeTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData("on", true), InlineData("off", false)]
    public async Task A_setting_is_not_probed(string set, bool use) =>
        (await Probe(set).DecideAsync(CancellationToken.None)).ShouldBe(new KvmVerdict(use, $"CAPSUL_KVM={set}."));

    [Fact]
    public void A_verdict_is_valid_for_one_kernel_on_one_processor() =>
        KvmProbe.Machine("Linux version 6.1.0-40 (gcc…)", ["processor : 0", "model name\t: Some CPU: 3 GHz"], "b1\n")
            .ShouldBe("Linux version 6.1.0-40 on Some CPU: 3 GHz, boot b1");

    /// <summary>The same sector on an emulated CPU: if it is silent on a broken KVM, KVM must be the cause.</summary>
    [Fact]
    public async Task The_boot_sector_boots_on_a_working_processor() =>
        (await Probe("auto").ProbeAsync("tcg", "max", TestContext.Current.CancellationToken)).Use.ShouldBeTrue();

    KvmProbe Probe(string set) => new(
        Settings.Load(
            new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder, ["CAPSUL_KVM"] = set }),
        TimeProvider.System);
}

/// <summary>
/// The probe with a real guest. Whether KVM works depends on the machine; this checks that there is a stored verdict.
/// </summary>
[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed class KvmProbeRunTests(RealHypervisor real)
{
    [Fact]
    public async Task A_probe_decides_in_time_and_runs_once()
    {
        var folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;
        var probe = new KvmProbe(
            real.Settings.With(("CAPSUL_DATA", folder), ("CAPSUL_KVM", "auto")), TimeProvider.System);
        var first = await probe.DecideAsync(CancellationToken.None);
        RealHypervisor.Say($"KVM {first.Use}: {first.Why}");
        (await probe.DecideAsync(CancellationToken.None)).ShouldBe(first);
        Directory.Delete(folder, recursive: true);
    }
}
