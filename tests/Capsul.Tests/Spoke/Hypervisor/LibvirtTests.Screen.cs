using System.Globalization;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>A real guest's screen, by a small viewer.</summary>
public sealed partial class LibvirtTests
{
    static readonly uint[] CtrlAltDel = [0xffe3, 0xffe9, 0xffff];

    [Fact]
    public async Task A_screen_shows_the_boot_takes_keys_and_listens_nowhere()
    {
        var vm = real.Spec("screenscre", 47);
        (await Should.ThrowAsync<HypervisorException>(() => real.Libvirt.OpenScreenAsync(vm.Id, None))).Message
            .ShouldBe("It is off.");
        await real.CreateAsync(vm);
        await using (var screen = await ConnectAsync(vm))
        {
            await using var other = await ConnectAsync(vm);
            screen.Name.ShouldContain(vm.Id);
            screen.Width.ShouldBeInRange(320, 4096);
            screen.Height.ShouldBeInRange(200, 4096);
            await Until.TrueAsync("the firmware has written something", TimeSpan.FromSeconds(60), async () =>
                (await screen.PictureAsync(None)).Distinct().Count() > 1);
            (await other.PictureAsync(None)).Length.ShouldBe(other.Width * other.Height);
            await real.WaitForSshAsync(vm);
            await Until.TrueAsync("it has booted", TimeSpan.FromSeconds(60), async () => await BootsAsync() == 1);
            // By now Linux reads the keyboard: it reboots. Only once, or the next boot would be ended, too.
            await screen.PressAsync(CtrlAltDel, None);
            await Until.TrueAsync("it boots again", TimeSpan.FromSeconds(120), async () => await BootsAsync() > 1);
        }
        var qemu = RealWorld.Qemus(vm.Id).ShouldHaveSingleItem();
        Listeners(qemu).ShouldBeEmpty("it listens on no TCP port");
        await real.Libvirt.TurnOffAsync(vm.Id, None);
        (await Should.ThrowAsync<HypervisorException>(() => real.Libvirt.OpenScreenAsync(vm.Id, None))).Message
            .ShouldBe("It is off.");
        await real.Libvirt.RemoveAsync(vm.Id, None);
        await NothingIsLeftAsync(vm);

        async Task<int> BootsAsync() =>
            (await real.Libvirt.ConsoleTailAsync(vm.Id, SshReadiness.ConsoleBytes, None))
                .Split("-----BEGIN SSH HOST KEY KEYS-----").Length - 1;
    }

    /// <summary>As a Spoke opens it.</summary>
    async Task<RfbClient> ConnectAsync(VmSpec vm) => await RfbClient.ConnectAsync(
        new LineStream(await real.Libvirt.OpenScreenAsync(vm.Id, None)), None);

    /// <summary>TCP sockets of a process that listen, as the kernel lists them.</summary>
    static List<string> Listeners(int process)
    {
        const string Listening = "0A";
        var sockets = Directory.EnumerateFileSystemEntries($"/proc/{process}/fd")
            .Select(f => File.ResolveLinkTarget(f, returnFinalTarget: false)?.Name ?? "")
            .Where(t => t.StartsWith("socket:[", StringComparison.Ordinal))
            .Select(t => t["socket:[".Length..^1]).ToHashSet(StringComparer.Ordinal);
        return [.. ((string[])["tcp", "tcp6"]).SelectMany(f => File.ReadLines($"/proc/{process}/net/{f}").Skip(1))
            .Select(l => l.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(w => w[3] == Listening && sockets.Contains(w[9]))
            .Select(w => int.Parse(w[1].Split(':')[1], NumberStyles.HexNumber).ToString())];
    }
}
