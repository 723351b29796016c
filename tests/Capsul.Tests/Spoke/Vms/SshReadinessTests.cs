using System.Net;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Spoke.Vms;

/// <summary>When a guest counts as up, by the clock.</summary>
public sealed class SshReadinessTests
{
    static readonly TimeSpan Boot = TimeSpan.FromSeconds(1);
    static readonly IPAddress Address = IPAddress.Parse("10.77.0.2");

    /// <summary>What it waits for is a packet that a guest without an address did not hear.</summary>
    [Fact]
    public async Task A_dial_from_before_the_keys_were_there_is_not_waited_for()
    {
        var cancel = TestContext.Current.CancellationToken;
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("readiness"),
        });
        var images = new ImageStore(settings.Images);
        Directory.CreateDirectory(images.Folder);
        var files = images.MakeScratch();
        await File.WriteAllTextAsync(Path.Combine(files, "disk.qcow2"), "only pretended", cancel);
        var image = await images.AddAsync(new Image("tiny", "Tiny", "", "capsul", 1, 128), files, cancel);
        var time = new FakeTimeProvider();
        await using var hypervisor = new Simulated(settings, images, time) { BootTime = Boot };
        await hypervisor.PrepareAsync(cancel);
        var vm = new VmSpec("capsul-readiness", "ready", 1, 128, 1, image.Id, image.Sha256, "52:54:0a:4d:00:02",
            Address, [], HasRun: false);
        await hypervisor.MakeDiskAsync(vm, cancel);
        await hypervisor.DefineAsync(vm, cancel);
        await hypervisor.StartAsync(vm, cancel);
        hypervisor.Inject(Verb.Dial, new Fault(FaultKind.Hang, By: TimeSpan.FromHours(1)));
        var ssh = new SshReadiness(hypervisor, time);
        (await ssh.LookAsync(vm.Id, Address, [], cancel)).Keys.ShouldBeNull();
        time.Advance(Boot);
        (await ssh.LookAsync(vm.Id, Address, [], cancel)).Keys.ShouldNotBeNull();
        ssh.IsReady.ShouldBeTrue();
    }
}
