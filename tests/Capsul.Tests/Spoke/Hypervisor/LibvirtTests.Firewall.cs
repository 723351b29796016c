using System.Net;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Spoke.Hypervisor;

/// <summary>What reaches a guest, from the host and from another guest.</summary>
public sealed partial class LibvirtTests
{
    const string OneOwner = "00000000000000000000000000000001", OtherOwner = "00000000000000000000000000000002";

    [Fact]
    public async Task A_guest_is_reached_at_the_ports_that_its_firewall_opens_and_at_no_other()
    {
        var from = real.Spec("fffffffff0", 60) with { Firewall = new Firewall(true, OneOwner, []) };
        var vm = real.Spec("fffffffff1", 61);
        vm = vm with
        {
            Firewall = new Firewall(false, OtherOwner,
            [
                new(IpProtocol.Tcp, 8080, 8080, null),
                new(IpProtocol.Tcp, 8082, 8083, new IPNetwork(from.Address6!, 128)),
            ]),
        };
        await Task.WhenAll(real.CreateAsync(from), real.CreateAsync(vm));
        await Task.WhenAll(real.WaitForSshAsync(from), real.WaitForSshAsync(vm));
        foreach (var port in (int[])[8080, 8081, 8082])
            await Until.TrueAsync($"a server at {port}", TimeSpan.FromSeconds(60), () => ServeAsync(vm, port));
        await Until.TrueAsync("both guests have IPv6", TimeSpan.FromSeconds(60), async () =>
            await AskAsync($"{vm.Address6}", 8080, inGuest: true) == "port8080",
            async () => $"{await NetworkAsync(from)}\n{await NetworkAsync(vm)}");

        foreach (var inGuest in (bool[])[false, true])
        {
            foreach (var address in (string[])[$"{vm.Address}", $"{vm.Address6}"])
            {
                await SaysAsync(
                    "port8080", () => AskAsync(address, 8080, inGuest), $"{address}, from a guest: {inGuest}");
                (await AskAsync(address, 8081, inGuest)).ShouldBe("", $"{address}, from a guest: {inGuest}");
            }
        }
        await SaysAsync("port8082", () => AskAsync($"{vm.Address6}", 8082, inGuest: true));
        (await AskAsync($"{vm.Address6}", 8082, inGuest: false)).ShouldBe("");
        (await AskAsync($"{vm.Address}", 8082, inGuest: true)).ShouldBe("");

        await real.Libvirt.GuardAsync(vm with { Firewall = new Firewall(true, OtherOwner, []) }, None);
        await SaysAsync("port8081", () => AskAsync($"{vm.Address}", 8081, inGuest: false), "it is open");
        (await AskAsync($"{vm.Address}", 8081, inGuest: true)).ShouldBe("", "the other is of another account");
        await real.Libvirt.GuardAsync(vm with { Firewall = new Firewall(true, OneOwner, []) }, None);
        await SaysAsync(
            "port8081", () => AskAsync($"{vm.Address6}", 8081, inGuest: true), "it is of the same account");

        // Nothing can lock the host out.
        await real.Libvirt.GuardAsync(vm with { Firewall = new Firewall(false, OneOwner, []) }, None);
        (await AskAsync($"{vm.Address}", 8081, inGuest: false)).ShouldBe("");
        (await real.SshAsync(vm, "echo in")).Output.ShouldBe("in\n");

        await RulesComeBackAsync("flush chain bridge capsul to_guests");
        await RulesComeBackAsync("flush ruleset");
        (await AskAsync($"{vm.Address}", 8081, inGuest: true)).ShouldBe("");
        (await real.SshAsync(vm, "echo in")).Output.ShouldBe("in\n");
        foreach (var one in (VmSpec[])[from, vm])
        {
            await real.Libvirt.RemoveAsync(one.Id, None);
            await NothingIsLeftAsync(one);
        }

        async Task<string> AskAsync(string address, int port, bool inGuest) => (inGuest
            ? await real.SshAsync(from, $"nc -w 2 {address} {port} </dev/null")
            : await real.Sandbox.Inside("timeout", "2", "busybox", "nc", address, $"{port}").TryRunAsync(None))
            .Output.Trim();
    }

    /// <summary>Asks until it is so: a guest answers late on a busy machine.</summary>
    static Task SaysAsync(string expected, Func<Task<string>> ask, string what = "") => Until.TrueAsync(
        $"\"{expected}\" ({what})", WayOutLimit, async () => await ask() == expected, ask);

    /// <summary>Starts a server in a guest unless it is there; whether it was.</summary>
    async Task<bool> ServeAsync(VmSpec vm, int port)
    {
        var (text, server) = ($"port{port}", $"nc -ll -p {port} -e echo port{port}");
        var found = await real.SshAsync(vm,
            $"nc -w 2 127.0.0.1 {port} </dev/null || {{ {server} </dev/null >/dev/null 2>&1 & }}");
        return found.Output.Trim() == text;
    }

    async Task<string> NetworkAsync(VmSpec vm) =>
        await real.SshAsync(vm, "ip -6 address; ip -6 route; ip -6 neigh; netstat -ltn; uptime") is var found
            ? $"{vm.Id}: {found.Output}{found.Error}"
            : "";

    [Fact]
    public async Task A_table_is_made_again_only_if_something_of_it_is_missing()
    {
        await real.Sandbox.Inside("ip", "netns", "add", "whole").RunAsync(None);
        var filter = new Filter(words => real.Sandbox.Inside("ip", ["netns", "exec", "whole", "nft", .. words]));
        await filter.PrepareAsync([], None);
        // No rules of its own: its chain is empty.
        await filter.AllowAsync(new Guest(
            "capwhole0", "52:54:00:12:34:2a", IPAddress.Parse("10.77.0.42"), null, new Firewall(true, OneOwner, [])),
            None);
        IReadOnlyList<Guest> others = [new("capwhole1", "52:54:00:12:34:2b", IPAddress.Parse("10.77.0.43"), null)];
        foreach (var removed in (string[])["flush chain bridge capsul to_guests", "flush ruleset"])
        {
            (await RepairAsync()).ShouldBeFalse();
            (await RepairAsync()).ShouldBeFalse();
            await NftAsync(removed);
            (await RepairAsync()).ShouldBeTrue(removed);
        }
        (await NftAsync("list set bridge capsul macs")).ShouldContain("capwhole1");
        await real.Sandbox.Inside("ip", "netns", "del", "whole").RunAsync(None);

        Task<bool> RepairAsync() => filter.RepairAsync(_ => Task.FromResult(others), None);

        async Task<string> NftAsync(string words) => (await real.Sandbox.Inside(
            "ip", ["netns", "exec", "whole", "nft", .. words.Split(' ')]).RunAsync(None)).Output;
    }

    async Task RulesComeBackAsync(string removed)
    {
        var before = real.Libvirt.RulesRemoved;
        await real.Sandbox.Inside("nft", removed.Split(' ')).RunAsync(None);
        await Until.TrueAsync($"what was removed by {removed} is back", TimeSpan.FromSeconds(60),
            () => Task.FromResult(real.Libvirt.RulesRemoved != before));
        (await real.Sandbox.Inside("nft", "list", "chain", "bridge", "capsul", "to_guests").RunAsync(None)).Output
            .ShouldContain("vmap @firewalls");
    }
}
