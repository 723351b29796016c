using System.Net;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>Routed and nat mode. The provider's router and the internet are a network namespace.</summary>
public sealed partial class LibvirtTests
{
    /// <summary>What a machine says of itself that routing changes.</summary>
    const string Said = "ip -o link | grep -o 'capsul-[^@:]*'; ip route; ip -6 route | grep -v '^fe80'; "
        + "nft list tables; cat /proc/sys/net/ipv4/conf/wan/forwarding /proc/sys/net/ipv6/conf/all/forwarding "
        + "/proc/sys/net/ipv6/conf/wan/accept_ra";

    [Fact]
    public async Task Routed_guests_are_reached_at_their_own_addresses_as_their_firewalls_allow()
    {
        await using var internet = await PretendedInternet.MakeAsync(None);
        var before = await internet.MachineAsync(None, "sh", "-c", Said);
        var six = real.Settings.VmNetwork6!.Value;
        foreach (var network in (IPNetwork[])[real.Settings.VmNetwork, six]) await internet.RouteAsync(network, None);
        var wayOut = new WayOut(real.Sandbox, TimeProvider.System, NullLogger.Instance);
        await OpenAsync(internet, wayOut, "routed", six.ToString());
        var vm = real.Spec("rrrrrrrrrr", 70) with
        {
            Firewall = new Firewall(false, OneOwner, [new(IpProtocol.Tcp, 8080, 8080, null)]),
        };
        await real.CreateAsync(vm);
        await real.WaitForSshAsync(vm);
        foreach (var port in (int[])[8080, 8081])
            await Until.TrueAsync($"its server listens at {port}", WayOutLimit, () => ServeAsync(vm, port));
        await Until.TrueAsync("the guest is reached by IPv6", TimeSpan.FromSeconds(60), async () =>
            await AskAsync(vm.Address6!, 8080) == "port8080", () => NetworkAsync(vm));

        foreach (var address in (IPAddress[])[vm.Address, vm.Address6!])
        {
            await SaysAsync("port8080", () => AskAsync(address, 8080), $"{address}");
            (await AskAsync(address, 8081)).ShouldBe("", $"{address}");
            (await AskAsync(address, 22)).ShouldBe("", $"{address}: the firewall decides, not the host's own way in");
        }
        var ssh = new Firewall(false, OneOwner, [new(IpProtocol.Tcp, 22, 22, null)]);
        await real.Libvirt.GuardAsync(vm with { Firewall = ssh }, None);
        foreach (var address in (IPAddress[])[vm.Address, vm.Address6!]) await AnswersSshAsync(address);

        await HasAFurtherAddressAsync(vm with { Firewall = ssh });

        // Nothing of the machine's address is needed: packets leave with the guest's.
        await internet.InternetAsync(None, "nft", "add table inet seen; add chain inet seen in "
            + "{ type filter hook input priority 0; }; add rule inet seen in ip saddr "
            + $"{PretendedInternet.Machine} tcp dport 80 drop");
        await SaysAsync("the internet", () => FetchAsync(vm, PretendedInternet.Name));
        await SaysAsync("the internet", () => FetchAsync(vm, $"[{PretendedInternet.Web6}]"));
        foreach (var address in (string[])[PretendedInternet.Machine, PretendedInternet.MachineToo,
            $"[{PretendedInternet.Machine6}]", "10.77.0.1", "169.254.169.254"])
            (await FetchAsync(vm, address)).ShouldBe("", $"{address} is the machine's");
        (await FetchAsync(vm, $"{PretendedInternet.Web}:25")).ShouldBe("", "port 25 is closed");

        await TheMachineRoutesNothingElseAsync(internet);

        // What somebody removes comes back.
        var name = $"capsul-{Path.GetFileName(real.Sandbox.RunFolderInUse)}";
        var cable = await CableAsync();
        await internet.MachineAsync(None, "ip", "link", "delete", name);
        await Until.TrueAsync("there is another cable", WayOutLimit, async () =>
        {
            await wayOut.EnsureAsync(None); // It does nothing while the sandbox's own keeper does.
            return await wayOut.IsConnectedAsync(None) && await CableAsync() != cable;
        });
        await AnswersSshAsync(vm.Address);

        await internet.InternetAsync(None, "nft", "delete", "table", "inet", "seen");
        await OpenAsync(internet, wayOut, "nat", "auto");
        await SaysAsync("the internet", () => FetchAsync(vm, PretendedInternet.Web), "translated");
        await SaysAsync("the internet", () => FetchAsync(vm, $"[{PretendedInternet.Web6}]"));
        (await AskAsync(vm.Address, 22)).ShouldBe("", "nobody outside knows its address");
        (await AskAsync(vm.Address6!, 22)).ShouldBe("", "nobody outside knows its address");

        // Everything that was added or changed is as it was.
        await OpenAsync(internet, wayOut, "private", "auto", ("CAPSUL_OUTBOUND", "off"));
        (await internet.MachineAsync(None, "sh", "-c", Said)).ShouldBe(before);
        (await FetchAsync(vm, PretendedInternet.Web)).ShouldBe("");
        await real.Libvirt.RemoveAsync(vm.Id, None);
        await NothingIsLeftAsync(vm);

        // The guest gives it to itself, and may use it exactly as long as the Hub says.
        async Task HasAFurtherAddressAsync(VmSpec vm)
        {
            var further = IPAddress.Parse("10.77.0.71");
            (await real.SshAsync(vm, $"su -c 'ip address add {further}/32 dev eth0'")).ExitCode.ShouldBe(0);
            (await AskAsync(further, 22)).ShouldBe("", "it is not the guest's");
            await real.Libvirt.GuardAsync(vm with { Further = [further] }, None);
            real.Libvirt.IsGuarded(vm).ShouldBeFalse();
            await AnswersSshAsync(further);
            await AnswersSshAsync(vm.Address);
            (await AskAsync(further, 8080)).ShouldBe("", "the firewall is for both");
            await SaysAsync("the internet", () => FetchAsync(vm, PretendedInternet.Web), "as before");
            await real.Libvirt.GuardAsync(vm, None);
            (await AskAsync(further, 22)).ShouldBe("", "it was given back");
            await AnswersSshAsync(vm.Address);

            // A guest that is started with it takes it by itself.
            await real.Libvirt.ShutdownAsync(vm.Id, None);
            await real.WaitForPowerAsync(vm, DomainPower.Off);
            await real.CreateAsync(vm with { Further = [further], HasRun = true });
            await real.WaitForSshAsync(vm);
            await AnswersSshAsync(further);
            await real.Libvirt.GuardAsync(vm, None);
            (await AskAsync(further, 22)).ShouldBe("", "it was given back");
        }

        Task AnswersSshAsync(IPAddress address) => Until.TrueAsync($"{address} answers SSH", WayOutLimit, async () =>
            (await AskAsync(address, 22)).StartsWith("SSH-", StringComparison.Ordinal));

        // Its number, of which no interface gets the same again.
        async Task<string> CableAsync() =>
            (await internet.MachineAsync(None, "sh", "-c", $"ip -o link show dev {name}")).Split(':')[0];

        async Task<string> AskAsync(IPAddress address, int port) => (await internet.InternetAsync(
            None, "timeout", "3", "busybox", "nc", "-w", "2", address.ToString(), $"{port}"))
            .Split('\n')[0].Trim() is var line && !line.StartsWith("nc:", StringComparison.Ordinal) ? line : "";
    }

    /// <summary>A network behind the machine, which is none of the VMs'.</summary>
    static async Task TheMachineRoutesNothingElseAsync(PretendedInternet internet)
    {
        await internet.MachineAsync(None, "sh", "-ec", "ip link add lan type veth peer name lan-end; "
            + "echo 1 >/proc/sys/net/ipv6/conf/lan/disable_ipv6; ip address add 192.0.2.1/24 dev lan; "
            + "ip neigh add 192.0.2.9 lladdr 52:54:00:00:00:09 dev lan; ip link set lan up; ip link set lan-end up");
        await internet.RouteAsync(IPNetwork.Parse("192.0.2.0/24"), None);
        var before = await SentAsync();
        before.ShouldContain("packets");
        await internet.InternetAsync(None, "busybox", "ping", "-c", "1", "-W", "1", "192.0.2.9");
        (await SentAsync()).ShouldBe(before);
        await internet.MachineAsync(None, "ip", "link", "delete", "lan");

        Task<string> SentAsync() => internet.MachineAsync(
            None, "sh", "-ec", "ip -s -j link show dev lan | grep -o '\"tx\":{[^}]*}'");
    }

    /// <summary>A sandbox that is stopped takes away what it has changed outside, also after it has died.</summary>
    [Fact]
    public async Task A_stopped_sandbox_leaves_the_machine_as_it_was()
    {
        await using var internet = await PretendedInternet.MakeAsync(None);
        var before = await internet.MachineAsync(None, "sh", "-c", Said);
        var settings = real.Settings.With(("CAPSUL_DATA", TestFolder.Make("routed")), ("CAPSUL_OUTBOUND", "on"),
            ("CAPSUL_NETWORK", "nat"), ("CAPSUL_VM_NETWORK6", "fd00:77::/64"));
        Directory.CreateDirectory(Path.Combine(settings.Data, "spoke"));
        try
        {
            using var sandbox = await Sandbox.OpenAsync(
                settings, kvm: false, TimeProvider.System, NullLogger.Instance, None);
            await sandbox.Inside("ip", "link", "add", "capsul0", "type", "bridge").RunAsync(None);
            var wayOut = new WayOut(sandbox, TimeProvider.System, NullLogger.Instance);
            await wayOut.OpenAsync(settings, IPAddress.Parse("10.77.0.1"), internet.MachineNetwork, None);
            (await wayOut.IsConnectedAsync(None)).ShouldBeTrue();
            (await CheckWayOut.RunAsync(settings, None)).Verdict.ShouldBe(Verdict.Ok);
            (await internet.MachineAsync(None, "sh", "-c", Said)).ShouldNotBe(before);
            await new Command("kill", "-KILL", sandbox.Pid.ToString()).RunAsync(None);
        }
        finally
        {
            await Sandbox.StopAsync(settings, TimeProvider.System, CancellationToken.None);
        }
        (await internet.MachineAsync(None, "sh", "-c", Said)).ShouldBe(before);
    }

    /// <summary>A route to the VMs would take the place of the machine's own.</summary>
    [Fact]
    public async Task A_network_that_the_machine_is_in_itself_is_not_routed_to_vms()
    {
        await using var internet = await PretendedInternet.MakeAsync(None);
        var before = await internet.MachineAsync(None, "sh", "-c", Said);
        var wayOut = new WayOut(real.Sandbox, TimeProvider.System, NullLogger.Instance);
        var refused = await Should.ThrowAsync<ProblemException>(() => OpenAsync(
            internet, wayOut, "routed", "off", ("CAPSUL_VM_NETWORK", "198.51.100.0/28")));
        refused.Message.ShouldContain("is an address of this machine");
        (await internet.MachineAsync(None, "sh", "-c", Said)).ShouldBe(before);
        await OpenAsync(internet, wayOut, "private", "auto", ("CAPSUL_OUTBOUND", "off"));
    }

    Task OpenAsync(PretendedInternet internet, WayOut wayOut, string mode, string six,
        params (string, string?)[] settings) => wayOut.OpenAsync(
            real.Settings.With([("CAPSUL_OUTBOUND", "on"), ("CAPSUL_NETWORK", mode), ("CAPSUL_VM_NETWORK6", six),
                ("CAPSUL_VM_RESOLVER", PretendedInternet.Resolver), .. settings]),
            IPAddress.Parse("10.77.0.1"), internet.MachineNetwork, None);

    async Task<string> FetchAsync(VmSpec vm, string address) =>
        (await real.SshAsync(vm, $"timeout 4 wget -q -O - http://{address}/")).Output.Trim();
}
