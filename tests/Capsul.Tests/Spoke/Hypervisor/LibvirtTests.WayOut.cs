using System.Net;
using System.Xml.Linq;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>What a guest reaches outside, and what it does not. The internet here is a network namespace.</summary>
public sealed partial class LibvirtTests
{
    static readonly TimeSpan WayOutLimit = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task A_guest_gets_out_by_name_but_not_to_the_machine()
    {
        await using var internet = await PretendedInternet.MakeAsync(None);
        var wayOut = new WayOut(real.Sandbox, TimeProvider.System, NullLogger.Instance);
        await OpenAsync(("CAPSUL_VM_RESOLVER", PretendedInternet.Resolver));
        // Nothing may connect to it; what it asks for is answered all the same.
        var vm = real.Spec("wwwwwwwwww", 50) with { Firewall = new Firewall(false, OneOwner, []) };
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);

        await ReachesAsync(PretendedInternet.Name, "by name");
        await ReachesAsync(PretendedInternet.Web, "by address");
        await ReachesAsync($"[{PretendedInternet.Web6}]", "by IPv6");
        (await real.SshAsync(vm, "ip -6 address show dev eth0 scope global")).Output
            .ShouldContain($"{vm.Address6}/64");
        var gateway6 = NetworkXml.Layout(real.Settings.VmNetwork, real.Settings.VmNetwork6).Gateway6;
        foreach (var address in (string[])[PretendedInternet.Machine, PretendedInternet.MachineToo,
            $"[{PretendedInternet.Machine6}]", $"[{gateway6}]", "10.77.0.1",
            "127.0.0.1", "169.254.1.53", "169.254.169.254"])
            (await FetchAsync(address)).ShouldBe("", $"{address} is the machine's");
        (await real.SshAsync(vm, "nc -w 2 10.77.0.1 16509 </dev/null && echo open || echo closed"))
            .Output.ShouldBe("closed\n", "libvirt");

        var before = await UsedAsync(vm);
        (await FetchAsync($"{PretendedInternet.Web}:25")).ShouldBe("", "port 25 is closed");
        await ItsUseIsCountedAsync(vm, before);
        await OpenAsync(("CAPSUL_VM_RESOLVER", PretendedInternet.Resolver), ("CAPSUL_OUTBOUND_MAIL", "on"));
        await SaysAsync("mail", () => FetchAsync($"{PretendedInternet.Web}:25"));

        // A resolver on the machine's loopback, as systemd-resolved is.
        await OpenAsync(("CAPSUL_VM_RESOLVER", PretendedInternet.LocalResolver));
        await ReachesAsync($"only{PretendedInternet.LocalResolver}.example", "by the machine's own resolver");

        var helper = HelperPids().ShouldHaveSingleItem();
        await new Command("kill", "-KILL", helper.ToString()).RunAsync(None);
        await Until.TrueAsync("it was started again", WayOutLimit, () =>
            Task.FromResult(wayOut.IsRunning && HelperPids() is [var now] && now != helper));
        await ReachesAsync(PretendedInternet.Web, "again");

        await real.Sandbox.Inside("nft", "flush", "chain", "inet", "capsul_out", "through").RunAsync(None);
        await ReachesAsync(PretendedInternet.Web, "the rules were put back");

        await OpenAsync(("CAPSUL_OUTBOUND", "off"));
        await Until.TrueAsync("the helper has ended", WayOutLimit, () => Task.FromResult(HelperPids().Count == 0));
        (await FetchAsync(PretendedInternet.Web)).ShouldBe("");
        await real.Libvirt.RemoveAsync(vm.Id, None);

        Task ReachesAsync(string address, string how) => SaysAsync("the internet", () => FetchAsync(address), how);

        Task<string> FetchAsync(string address) => this.FetchAsync(vm, address);

        Task OpenAsync(params (string, string?)[] settings) => wayOut.OpenAsync(
            real.Settings.With([("CAPSUL_OUTBOUND", "on"), .. settings]), IPAddress.Parse("10.77.0.1"),
            internet.MachineNetwork, None);
    }

    async Task ItsUseIsCountedAsync(VmSpec vm, VmUse before)
    {
        const int mebi = 1 << 20;
        (await real.SshAsync(vm, "dd if=/dev/zero bs=1M count=3 2>/dev/null")).Output.Length
            .ShouldBeGreaterThanOrEqualTo(3 * mebi);
        var now = await UsedAsync(vm);
        now.CpuMs.ShouldBeGreaterThan(before.CpuMs);
        (now.Sent - before.Sent).ShouldBeGreaterThan(3 * mebi);
        (now.Received - before.Received).ShouldBeInRange(1, 3 * mebi);
        now.Connections.ShouldBeGreaterThan(before.Connections, "also one that was refused");
    }

    async Task<VmUse> UsedAsync(VmSpec vm) => (await real.Libvirt.UsageAsync(None)).Single(u => u.Id == vm.Id);

    /// <summary>The network of a version that had no way out: running VMs keep theirs, and it gets one.</summary>
    [Fact]
    public async Task A_network_without_a_way_out_gets_one_under_running_vms()
    {
        var vm = real.Spec("xxxxxxxxxx", 51);
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        var network = XElement.Parse(await real.VirshAsync("net-dumpxml", "--inactive", "capsul"));
        network.Element("forward")!.Remove();
        network.Elements().Where(e => e.Name.LocalName == "options").Remove();
        var file = Path.Combine(real.Settings.Data, "old-network.xml");
        await File.WriteAllTextAsync(file, network.ToString(), None);
        await real.VirshAsync("net-define", file);
        await real.VirshAsync("net-destroy", "capsul");
        await real.VirshAsync("net-start", "capsul");
        XElement.Parse(await real.VirshAsync("net-dumpxml", "capsul")).Element("forward").ShouldBeNull();

        await real.Libvirt.PrepareAsync(None);
        var now = await real.VirshAsync("net-dumpxml", "capsul");
        NetworkXml.IsRouted(now).ShouldBeTrue();
        NetworkXml.Hosts(now).ShouldContain(new DhcpHost(vm.Id, vm.Mac, vm.Address));
        (await real.SshAsync(vm, "echo still here")).Output.ShouldBe("still here\n");
        await real.Libvirt.RemoveAsync(vm.Id, None);
    }

    /// <summary>The kernel ends the helper with its sandbox, and it comes back with the next one.</summary>
    [Fact]
    public async Task The_way_out_ends_with_its_sandbox()
    {
        await using var internet = await PretendedInternet.MakeAsync(None);
        var settings = real.Settings.With(("CAPSUL_DATA", TestFolder.Make("way-out")), ("CAPSUL_OUTBOUND", "on"),
            ("CAPSUL_VM_RESOLVER", PretendedInternet.Resolver));
        Directory.CreateDirectory(Path.Combine(settings.Data, "spoke"));
        try
        {
            for (var boot = 0; boot < 2; boot++)
            {
                using var sandbox = await Sandbox.OpenAsync(
                    settings, kvm: false, TimeProvider.System, NullLogger.Instance, None);
                await sandbox.Inside("ip", "link", "add", "capsul0", "type", "bridge").RunAsync(None);
                var wayOut = new WayOut(sandbox, TimeProvider.System, NullLogger.Instance);
                await wayOut.OpenAsync(settings, IPAddress.Parse("10.77.0.1"), internet.MachineNetwork, None);
                wayOut.IsRunning.ShouldBeTrue();
                (await CheckWayOut.RunAsync(settings, None)).Verdict.ShouldBe(Verdict.Ok);
                HelperPids(sandbox).Count.ShouldBe(1);
                await new Command("kill", "-KILL", sandbox.Pid.ToString()).RunAsync(None);
                await Until.TrueAsync("the helper has ended", WayOutLimit,
                    () => Task.FromResult(HelperPids(sandbox).Count == 0 && !sandbox.IsAlive));
            }
        }
        finally
        {
            await Sandbox.StopAsync(settings, TimeProvider.System, CancellationToken.None);
        }
    }

    List<int> HelperPids() => HelperPids(real.Sandbox);

    /// <summary>
    /// The helpers of a sandbox. Not their children: a helper that looks into the sandbox's namespaces begins a process
    /// for a moment.
    /// </summary>
    static List<int> HelperPids(Sandbox sandbox)
    {
        var helpers = (from folder in Directory.EnumerateDirectories("/proc")
                       where int.TryParse(Path.GetFileName(folder), out _) && IsHelper(sandbox, folder)
                       select (Pid: int.Parse(Path.GetFileName(folder)), Parent: Parent(folder))).ToList();
        return [.. helpers.Where(h => helpers.TrueForAll(other => other.Pid != h.Parent)).Select(h => h.Pid)];
    }

    static bool IsHelper(Sandbox sandbox, string folder)
    {
        var words = Read(folder, "cmdline").Split('\0');
        return words[0].EndsWith("pasta", StringComparison.Ordinal)
            && words.Contains($"{sandbox.RunFolderInUse}/way-out.net", StringComparer.Ordinal);
    }

    /// <summary>0 if the process has ended.</summary>
    static int Parent(string folder) =>
        Read(folder, "stat") is { Length: > 0 } stat ? int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[1]) : 0;

    /// <summary>Empty if the process has ended.</summary>
    static string Read(string folder, string file)
    {
        try
        {
            return File.ReadAllText(Path.Combine(folder, file));
        }
        catch (IOException)
        {
            return "";
        }
    }
}
