using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;

namespace Capsul.Tests.Spoke.Hypervisor;

public sealed class KvmProbeTests : IDisposable
{
    readonly string folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData("on", true), InlineData("off", false)]
    public async Task What_is_set_is_not_questioned(string set, bool use) =>
        (await Probe(set).DecideAsync(CancellationToken.None)).ShouldBe(new KvmVerdict(use, $"CAPSUL_KVM={set}."));

    [Fact]
    public async Task Without_a_guest_to_try_it_with_kvm_is_not_trusted() => (await Probe("auto").DecideAsync(CancellationToken.None)).Use.ShouldBeFalse();

    [Fact]
    public void A_verdict_holds_for_one_kernel_on_one_processor() =>
        KvmProbe.Machine("Linux version 6.1.0-40 (gcc…)", ["processor : 0", "model name\t: Some CPU: 3 GHz"]).ShouldBe("Linux version 6.1.0-40 on Some CPU: 3 GHz");

    KvmProbe Probe(string set) => new(
        Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal) { ["CAPSUL_DATA"] = folder, ["CAPSUL_KVM"] = set }),
        new ImageStore(Path.Combine(folder, "images")), TimeProvider.System);
}

/// <summary>The probe with a real guest. Whether KVM works here is the machine's business; that there is an answer, kept, is ours.</summary>
[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed class KvmProbeRunTests(RealHypervisor real)
{
    [Fact]
    public async Task A_probe_decides_in_time_and_is_asked_once()
    {
        var folder = Directory.CreateTempSubdirectory("capsul-test-").FullName;
        var probe = new KvmProbe(real.Settings.With(("CAPSUL_DATA", folder), ("CAPSUL_KVM", "auto")), real.Images, TimeProvider.System);
        var first = await probe.DecideAsync(CancellationToken.None);
        RealHypervisor.Say($"KVM {first.Use}: {first.Why}");
        (await probe.DecideAsync(CancellationToken.None)).ShouldBe(first);
        Directory.Delete(folder, recursive: true);
    }
}
