using System.Net;
using Capsul.Cli;
using Capsul.Demo;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Bench;

/// <summary>A VM of Capsul's, with its packet filter, its firewall and its way out.</summary>
sealed class VmSender : IAsyncDisposable
{
    const string Mac = "52:54:00:12:34:41";

    readonly string folder = Directory.CreateTempSubdirectory("capsul-bench-").FullName;
    readonly Settings settings;
    readonly ImageStore images;
    readonly IAsyncDisposable network;
    readonly string machine;
    Libvirt? libvirt;
    Sender sender = null!;

    VmSender(string mode, IAsyncDisposable network, string machine)
    {
        (this.network, this.machine) = (network, machine);
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        (string, string?)[] bridge = [("CAPSUL_BRIDGE", "br0"),
            ("CAPSUL_VM_NETWORK", "192.0.2.0/24"), ("CAPSUL_VM_RANGE", "192.0.2.64-192.0.2.95"),
            ("CAPSUL_VM_GATEWAY", PretendedLan.Router), ("CAPSUL_VM_RESOLVER", PretendedLan.Router)];
        settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal))
            .With([("CAPSUL_DATA", folder), ("CAPSUL_IMAGES", DemoRun.ImageCache), ("CAPSUL_NETWORK", mode),
                .. mode == "bridged" ? bridge : []]);
        images = new ImageStore(settings.Images);
    }

    public static async Task<VmSender> StartAsync(string mode, CancellationToken cancel)
    {
        VmSender made;
        string outside;
        if (mode == "bridged")
        {
            var lan = await PretendedLan.MakeAsync(cancel);
            (made, outside) = (new VmSender(mode, lan, lan.MachineNetwork), lan.OutsideNetwork);
        }
        else
        {
            var internet = await PretendedInternet.MakeAsync(cancel);
            (made, outside) = (new VmSender(mode, internet, internet.MachineNetwork), internet.OutsideNetwork);
            if (mode == "routed") await internet.RouteAsync(made.settings.VmNetwork, cancel);
        }
        try
        {
            await made.BootAsync(outside, cancel);
            return made;
        }
        catch
        {
            await made.DisposeAsync();
            throw;
        }
    }

    async Task BootAsync(string outside, CancellationToken cancel)
    {
        var image = await ImageVerb.EnsureAsync(images, TinyImage.Id, force: false, cancel);
        var key = Path.Combine(folder, "id");
        await new Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).RunAsync(cancel);
        libvirt = new Libvirt(settings, images, NullLogger.Instance, TimeProvider.System)
        {
            OutsideNetwork = machine,
        };
        await libvirt.PrepareAsync(cancel);
        var kvm = (await new KvmProbe(settings, TimeProvider.System).DecideAsync(cancel)).Use;
        using var sandbox =
            await Sandbox.OpenAsync(settings, kvm, TimeProvider.System, NullLogger.Instance, cancel);
        var address = IPAddress.Parse(settings.IsBridged ? "192.0.2.65" : "10.77.0.65");
        var vm = new VmSpec("capsul-nnnnnnnnnn", "sender", Vcpus: 1, MemoryMb: 256, DiskGb: 1, image.Id, image.Sha256,
            Mac, address, [(await File.ReadAllTextAsync(key + ".pub", cancel)).Trim()], HasRun: false)
        {
            Firewall = new Firewall(false, new string('1', 32), []),
        };
        await libvirt.MakeDiskAsync(vm, cancel);
        await libvirt.DefineAsync(vm, cancel);
        await libvirt.StartAsync(vm, cancel);
        sender = new Sender(
            $"/proc/{sandbox.Pid}/ns/net", $"{image.LoginUser}@{address}", key, outside, PretendedInternet.Web);
        await sender.AwaitLoginAsync(cancel);
    }

    public Task<double> SendAsync(int megabytes, CancellationToken cancel) => sender.SendAsync(megabytes, cancel);

    public async ValueTask DisposeAsync()
    {
        if (libvirt is not null) await libvirt.DisposeAsync();
        await Sandbox.StopAsync(settings, TimeProvider.System, CancellationToken.None);
        await network.DisposeAsync();
        Directory.Delete(folder, recursive: true);
    }
}
