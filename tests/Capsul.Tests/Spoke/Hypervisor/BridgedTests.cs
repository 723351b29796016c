using System.Net;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>
/// Bridged mode: a machine with a bridge, its router and somebody behind that are network namespaces, and the guest is
/// real. A sandbox of its own, because a network keeps its addresses.
/// </summary>
[Trait("Group", "libvirt"), Collection(nameof(RealHypervisor))]
public sealed partial class BridgedTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(30), BootLimit = TimeSpan.FromSeconds(60);

    const string Own = "192.0.2.64", Mac = "52:54:c0:00:02:41", OneOwner = "00000000000000000000000000000001";

    /// <summary>What the machine says of its network. Numbers of interfaces never come back.</summary>
    const string Said = "ip -o link | sed 's/^[0-9]*: //'; ip -o address | sed 's/^[0-9]*: //'; ip route; "
        + "ip -6 route; bridge link; nft list ruleset; "
        + "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/br0/forwarding "
        + "/proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/br0/accept_ra";

    static CancellationToken None => TestContext.Current.CancellationToken;

    static readonly IReadOnlyList<(string, string?)> Bridged =
    [
        ("CAPSUL_OUTBOUND", "on"), ("CAPSUL_NETWORK", "bridged"), ("CAPSUL_BRIDGE", "br0"),
        ("CAPSUL_VM_NETWORK", "192.0.2.0/24"), ("CAPSUL_VM_RANGE", "192.0.2.64-192.0.2.95"),
        ("CAPSUL_VM_GATEWAY", PretendedLan.Router), ("CAPSUL_VM_NETWORK6", "2001:db8:7::/64"),
        ("CAPSUL_VM_RESOLVER", PretendedLan.Router),
    ];

    [Fact]
    public async Task Bridged_guests_are_in_the_network_of_the_machine()
    {
        await using var lan = await PretendedLan.MakeAsync(None);
        var before = await AtRestAsync(lan);
        await lan.WatchAsync(Watch(await CardAsync(lan)), None);
        await using (var real = new RealHypervisor { Changes = Bridged, Outside = lan.MachineNetwork })
        {
            await real.InitializeAsync();
            await HasPortAsync(lan, real, before);
            var vm = Vm(real);
            await real.CreateAsync(vm);
            await real.WaitForSshAsync(vm);
            await IsReachedAsync(lan, real, vm);
            await ReachesAsync(lan, real, vm);
            await HearsNoDhcpAsync(lan, real, vm);
            await LeaksNothingAsync(lan, real, vm);
            await ComesBackAsync(lan, real, vm);
            await real.Libvirt.RemoveAsync(vm.Id, None);
        }
        await SaysAsync(before, () => lan.MachineAsync(None, "sh", "-c", Said), "the machine is as it was");
    }

    /// <summary>What the machine says when its bridge is up and has all its addresses.</summary>
    static Task<string> AtRestAsync(PretendedLan lan) => Until.SomeAsync("the bridge is up", Limit, async () =>
    {
        var said = await lan.MachineAsync(None, "sh", "-c", Said);
        var lines = said.Split('\n').Where(l => l.StartsWith("br0", StringComparison.Ordinal)).ToList();
        return lines[0].Contains("state UP", StringComparison.Ordinal) && lines.Count == 4
            && !said.Contains("tentative", StringComparison.Ordinal) ? said : null;
    });

    static VmSpec Vm(RealHypervisor real) => real.Spec("bbbbbbbbbb", 65) with
    {
        Mac = Mac,
        Address = IPAddress.Parse("192.0.2.65"),
        Address6 = Filter.Derive(IPAddress.Parse("2001:db8:7::"), Mac),
        Firewall = new Firewall(false, OneOwner, [new(IpProtocol.Tcp, 8080, 8080, null)]),
    };

    /// <summary>Neither the bridge's hardware address nor its MTU nor anything but a port has changed.</summary>
    static async Task HasPortAsync(PretendedLan lan, RealHypervisor real, string before)
    {
        var name = $"capsul-{Path.GetFileName(real.Sandbox.RunFolderInUse)}";
        var now = await lan.MachineAsync(None, "sh", "-c", Said);
        now.Split('\n').Where(l => !l.Contains(name, StringComparison.Ordinal)).ShouldBe(before.Split('\n'));
        (await lan.MachineAsync(None, "bridge", "link")).ShouldContain($"{name}@");
        var found = await CheckWayOut.RunAsync(real.Settings, None);
        found.Says.ShouldBe("bridged mode: 192.0.2.64 to 192.0.2.95 on br0 lead to the VMs");
        NetworkXml.Tells(await real.VirshAsync("net-dumpxml", "capsul"), NetworkXml.Layout(real.Settings))
            .ShouldBeTrue("it is not made anew at each start");
        var capacity = (await real.Libvirt.CapacityAsync(None)).Network;
        $"{capacity.Gateway} {capacity.First} {capacity.Last}".ShouldBe("192.0.2.1 192.0.2.65 192.0.2.95");
    }

    static async Task IsReachedAsync(PretendedLan lan, RealHypervisor real, VmSpec vm)
    {
        foreach (var port in (int[])[8080, 8081])
            await Until.TrueAsync($"its server listens at {port}", Limit, () => ServeAsync(real, vm, port));
        await Until.TrueAsync("the guest is reached by IPv6", BootLimit,
            async () => await AskAsync(lan, vm.Address6!, 8080) == "port8080",
            async () => (await real.SshAsync(vm, "ip address; ip -6 route; ip -6 neigh")).Output);
        foreach (var address in (IPAddress[])[vm.Address, vm.Address6!])
        {
            await SaysAsync("port8080", () => AskAsync(lan, address, 8080), $"{address}");
            (await AskAsync(lan, address, 8081)).ShouldBe("", $"{address}");
            (await AskAsync(lan, address, 22)).ShouldBe("", $"{address}: the firewall decides");
        }
        var ssh = new Firewall(false, OneOwner,
            [new(IpProtocol.Tcp, 22, 22, null), new(IpProtocol.Tcp, 8080, 8080, null)]);
        await real.Libvirt.GuardAsync(vm with { Firewall = ssh }, None);
        foreach (var address in (IPAddress[])[vm.Address, vm.Address6!]) await AnswersSshAsync(lan, address);
        (await lan.MachineAsync(None, "busybox", "nc", "-w", "2", $"{vm.Address}", "8080")).Trim()
            .ShouldBe("port8080", "the machine is answered, too");
    }

    static async Task ReachesAsync(PretendedLan lan, RealHypervisor real, VmSpec vm)
    {
        var told = (await real.SshAsync(vm, "ip -4 address show eth0; ip route; cat /etc/resolv.conf")).Output;
        foreach (var word in (string[])["192.0.2.65/24", "default via 192.0.2.1", "nameserver 192.0.2.1"])
            told.ShouldContain(word);
        await SaysAsync("the internet", () => FetchAsync(real, vm, PretendedLan.Name), "by name");
        await SaysAsync("the internet", () => FetchAsync(real, vm, $"[{PretendedLan.Web6}]"), "by IPv6");
        foreach (var address in (string[])[PretendedLan.Machine, $"[{PretendedLan.Machine6}]", Own, "169.254.169.254"])
            (await FetchAsync(real, vm, address)).ShouldBe("", $"{address} is the machine's");
        var begun = (await real.Libvirt.UsageAsync(None)).Single(u => u.Id == vm.Id).Connections;
        (await FetchAsync(real, vm, $"{PretendedLan.Web}:25")).ShouldBe("", "port 25 is closed");
        (await real.Libvirt.UsageAsync(None)).Single(u => u.Id == vm.Id).Connections.ShouldBeGreaterThan(begun);
    }

    /// <summary>What was half made or taken away is made again, and a bridge that is gone is waited for.</summary>
    static async Task ComesBackAsync(PretendedLan lan, RealHypervisor real, VmSpec vm)
    {
        var name = $"capsul-{Path.GetFileName(real.Sandbox.RunFolderInUse)}";
        foreach (var broken in (string[])[$"ip link delete {name}", $"ip link set {name} nomaster",
            $"ip link set {name} down"])
        {
            await lan.MachineAsync(None, "sh", "-ec", broken);
            await AnswersSshAsync(lan, vm.Address, broken);
        }
        await real.Sandbox.Inside("ip", "link", "set", "out0", "nomaster").RunAsync(None);
        await AnswersSshAsync(lan, vm.Address6!, "the sandbox's end");
        await real.Sandbox.Inside("nft", "delete", "table", "bridge", "capsul_lan").RunAsync(None);
        await Until.TrueAsync("the rules are back", Limit, async () => (await real.Sandbox.Inside(
            "nft", "list", "table", "bridge", "capsul_lan").TryRunAsync(None)).ExitCode == 0);

        await lan.MachineAsync(None, "ip", "link", "delete", "br0");
        (await CheckWayOut.RunAsync(real.Settings, None)).Says
            .ShouldBe("bridged mode: this machine has no bridge br0 (CAPSUL_BRIDGE)");
        await SaysAsync("VMs are not connected: this machine has no bridge br0 (CAPSUL_BRIDGE).",
            () => Task.FromResult(real.Libvirt.CutOff), "what the Hub is told");
        await lan.MakeBridgeAsync(None);
        await AnswersSshAsync(lan, vm.Address, "the bridge is back");
        await SaysAsync("", () => Task.FromResult(real.Libvirt.CutOff), "what the Hub is told");
    }

    [Theory]
    [InlineData("CAPSUL_BRIDGE", "br7", "this machine has no bridge br7 (CAPSUL_BRIDGE)")]
    [InlineData("CAPSUL_BRIDGE", "eth0", "eth0 (CAPSUL_BRIDGE) is not a bridge")]
    [InlineData("CAPSUL_VM_RANGE", "192.0.2.2-192.0.2.9",
        "192.0.2.2 is an address of this machine, and in CAPSUL_VM_RANGE")]
    [InlineData("CAPSUL_VM_RESOLVER", PretendedLan.Machine,
        "VMs would use this machine's resolver, 192.0.2.2, and they do not reach it: set CAPSUL_VM_RESOLVER")]
    public async Task What_does_not_fit_the_machine_is_said_before_anything_is_changed(
        string setting, string value, string says)
    {
        await using var lan = await PretendedLan.MakeAsync(None);
        var before = await AtRestAsync(lan);
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = TestFolder.Make("bridged"),
            ["CAPSUL_CONFIG"] = "none",
        }).With([.. Bridged, (setting, value)]);
        (await WayOut.ObstacleAsync(settings, TestFolder.Make("bridged-run"), None, lan.MachineNetwork)).ShouldBe(says);
        (await lan.MachineAsync(None, "sh", "-c", Said)).ShouldBe(before);
    }

    static async Task<string> CardAsync(PretendedLan lan) =>
        (await lan.MachineAsync(None, "sh", "-ec", "ip -o link show dev br0 | sed 's/.*ether \\([0-9a-f:]*\\).*/\\1/'"))
            .Trim();

    static Task AnswersSshAsync(PretendedLan lan, IPAddress address, string after = "") => Until.TrueAsync(
        $"{address} answers SSH ({after})", Limit,
        async () => (await AskAsync(lan, address, 22)).StartsWith("SSH-", StringComparison.Ordinal));

    static async Task<string> AskAsync(PretendedLan lan, IPAddress address, int port) => (await lan.OutsideAsync(
        None, "timeout", "3", "busybox", "nc", "-w", "2", address.ToString(), $"{port}"))
        .Split('\n')[0].Trim() is var line && !line.StartsWith("nc:", StringComparison.Ordinal) ? line : "";

    static Task SaysAsync(string expected, Func<Task<string>> ask, string what) =>
        Until.TrueAsync($"\"{expected}\" ({what})", Limit, async () => await ask() == expected, ask);

    static async Task<string> FetchAsync(RealHypervisor real, VmSpec vm, string address) =>
        (await real.SshAsync(vm, $"timeout 4 wget -q -O - http://{address}/")).Output.Trim();

    /// <summary>Starts a server in the guest unless it is there; whether it was.</summary>
    static async Task<bool> ServeAsync(RealHypervisor real, VmSpec vm, int port)
    {
        var found = await real.SshAsync(vm, $"nc -w 2 127.0.0.1 {port} </dev/null || "
            + $"{{ nc -ll -p {port} -e echo port{port} </dev/null >/dev/null 2>&1 & }}");
        return found.Output.Trim() == $"port{port}";
    }
}
