using System.Net;
using System.Xml.Linq;
using Capsul.Foundation;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;

namespace Capsul.Tests.Spoke.Hypervisor;

public sealed class XmlTests
{
    static readonly VmSpec Vm = new("capsul-0123456789", "web", 2, 1024, 10, "tiny",
        new string('a', 64), "52:54:00:12:34:56", IPAddress.Parse("10.77.0.5"),
        ["ssh-ed25519 AAAA+/= me@home"], HasRun: false);

    static readonly Image Tiny = new("tiny", "Tiny", new string('a', 64), "capsul", 1, 128, "console=ttyS0 quiet");

    [Fact]
    public void A_domain_with_a_kernel_boots_it_directly()
    {
        var domain = Domain(new DomainFiles("/d", "/s", "/c", "/c.sock", "/k", "/i"));
        domain.Element("name")!.Value.ShouldBe(Vm.Id);
        domain.Element("vcpu")!.Value.ShouldBe("2");
        domain.Element("memory")!.Value.ShouldBe("1024");
        domain.Element("os")!.Elements().Select(e => e.Name.LocalName)
            .ShouldBe(["type", "kernel", "initrd", "cmdline"]);
        domain.Descendants("interface").Single().Element("target")!.Attribute("dev")!.Value.ShouldBe("cap0123456789");
    }

    [Fact]
    public void A_domain_without_a_kernel_boots_its_disk() =>
        Domain(new DomainFiles("/d", "/s", "/c", "/c.sock", null, null)).Element("os")!.Elements()
            .Select(e => e.Name.LocalName).ShouldBe(["type", "boot"]);

    [Fact]
    public void A_domain_has_a_screen_that_listens_nowhere()
    {
        var domain = Domain(new DomainFiles("/d", "/s", "/c", "/c.sock", null, null));
        var graphics = domain.Descendants("graphics").ShouldHaveSingleItem();
        graphics.Attribute("type")!.Value.ShouldBe("vnc");
        graphics.Attribute("port").ShouldBeNull();
        graphics.Elements("listen").Select(l => l.Attribute("type")!.Value).ShouldBe(["none"]);
        DomainXml.HasScreen(domain.ToString()).ShouldBeTrue();
        domain.Descendants("graphics").Remove();
        DomainXml.HasScreen(domain.ToString()).ShouldBeFalse();
        // A guest that was made before finds its other devices where they were.
        domain.Descendants("address").Select(a => $"{a.Attribute("slot")!.Value} {a.Parent!.Name} "
                + a.Parent.Element("target")?.Attribute("dev")?.Value).Order(StringComparer.Ordinal)
            .ShouldBe(["0x01 video ", "0x02 disk vda", "0x03 disk vdb", $"0x04 interface {DomainXml.Tap(Vm.Id)}",
                "0x05 controller ", "0x06 rng "]);
    }

    [Fact]
    public void User_input_cannot_break_out_of_its_element()
    {
        var xml = XElement.Parse(DomainXml.Write(Vm with { Name = "</title><evil a='\"&" },
            Tiny.CommandLine, new DomainFiles("/d&<", "/s", "/c", "/c.sock", null, null), kvm: true));
        xml.Element("title")!.Value.ShouldBe("</title><evil a='\"&");
        xml.Descendants("evil").ShouldBeEmpty();
        xml.Attribute("type")!.Value.ShouldBe("kvm");
    }

    [Fact]
    public void A_domains_uuid_depends_on_its_id_alone()
    {
        DomainXml.Uuid(Vm.Id).ShouldBe(DomainXml.Uuid(Vm.Id));
        DomainXml.Uuid(Vm.Id).ShouldNotBe(DomainXml.Uuid("capsul-9876543210"));
    }

    [Theory]
    [InlineData("10.77.0.0/24", "10.77.0.1", "10.77.0.2", "10.77.0.253")]
    [InlineData("192.168.4.0/29", "192.168.4.1", "192.168.4.2", "192.168.4.5")]
    [InlineData("172.16.0.0/16", "172.16.0.1", "172.16.0.2", "172.16.255.253")]
    public void A_network_reserves_its_ends_for_gateway_placeholder_and_broadcast(
        string cidr, string gateway, string first, string last)
    {
        var layout = NetworkXml.Layout(IPNetwork.Parse(cidr));
        (layout.Gateway.ToString(), layout.First.ToString(), layout.Last.ToString()).ShouldBe((gateway, first, last));
    }

    [Fact]
    public void The_networks_hosts_are_read_without_the_placeholder()
    {
        var xml = XElement.Parse(NetworkXml.Write(NetworkXml.Layout(IPNetwork.Parse("10.77.0.0/24")), true));
        NetworkXml.Hosts(xml.ToString()).ShouldBeEmpty();
        var host = new DhcpHost(Vm.Id, Vm.Mac, Vm.Address);
        xml.Descendants("dhcp").Single().Add(XElement.Parse(NetworkXml.Write(host)));
        NetworkXml.Hosts(xml.ToString()).ShouldBe([host]);
        NetworkXml.Cidr(xml.ToString()).ShouldBe(("10.77.0.1", "24"));
    }

    /// <summary>Its gateway is the router of that network, and only that advertises itself.</summary>
    [Fact]
    public void A_network_that_others_are_in_has_a_range_and_tells_of_their_router()
    {
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = "/tmp/capsul-none",
            ["CAPSUL_CONFIG"] = "none",
            ["CAPSUL_NETWORK"] = "bridged",
            ["CAPSUL_BRIDGE"] = "br0",
            ["CAPSUL_VM_NETWORK"] = "192.0.2.0/24",
            ["CAPSUL_VM_RANGE"] = "192.0.2.64-192.0.2.95",
            ["CAPSUL_VM_GATEWAY"] = "192.0.2.1",
            ["CAPSUL_VM_NETWORK6"] = "2001:db8:7::/64",
            ["CAPSUL_VM_RESOLVER"] = "192.0.2.53",
        });
        var network = NetworkXml.Layout(settings);
        $"{network.Gateway} {network.Own} {network.First} {network.Last}"
            .ShouldBe("192.0.2.1 192.0.2.64 192.0.2.65 192.0.2.95");
        var xml = NetworkXml.Write(network, isRouted: true);
        NetworkXml.Cidr(xml).ShouldBe(("192.0.2.64", "24"));
        NetworkXml.Gateway6(xml).ShouldBe("");
        xml.ShouldContain("\"dhcp-option=option:router,192.0.2.1\"");
        xml.ShouldContain("\"dhcp-option=option:dns-server,192.0.2.53\"");
        NetworkXml.Tells(xml, network).ShouldBeTrue();
        foreach (var (setting, value) in ((string, string)[])[("CAPSUL_VM_RESOLVER", "192.0.2.54"),
            ("CAPSUL_VM_GATEWAY", "192.0.2.2"), ("CAPSUL_NETWORK", "routed")])
            NetworkXml.Tells(xml, NetworkXml.Layout(settings.With((setting, value)))).ShouldBeFalse(setting);
    }

    [Fact]
    public void A_seed_keeps_keys_as_they_are_and_quotes_the_rest()
    {
        Seed.UserData(Vm).ShouldContain("  - \"ssh-ed25519 AAAA+/= me@home\"\n");
        Seed.UserData(Vm with { SshKeys = [] }).ShouldContain("ssh_authorized_keys: []\n");
        Seed.UserData(Vm with { SshKeys = ["ssh-rsa x \"\nruncmd: [evil]"] }).ShouldNotContain("\nruncmd");
    }

    [Fact]
    public async Task A_seed_says_which_further_addresses_it_has_and_a_guest_takes_them_at_every_boot()
    {
        var more = Vm with { Further = [IPAddress.Parse("203.0.113.3"), IPAddress.Parse("203.0.113.4")] };
        Seed.MetaData(more).ShouldEndWith("\ncapsul-addresses: 203.0.113.3 203.0.113.4\n");
        Seed.UserData(more).Split("  - [sh, -c, ").Length.ShouldBe(3);
        Seed.UserData(more).ShouldContain("ip address replace 203.0.113.4/32 dev ${i##*/}");
        Seed.UserData(more with { KeySet = new KeySet(7, "capsul") }).Split("bootcmd:").Length.ShouldBe(2);
        Seed.UserData(Vm).ShouldNotContain("bootcmd");
        var file = Path.Combine(TestFolder.Make("seed"), "seed.iso");
        await Seed.WriteAsync(more, file, TestContext.Current.CancellationToken);
        foreach (var (vm, isCurrent) in ((VmSpec, bool)[])[(more, true), (Vm, false),
            (more with { Further = [more.Further[0]] }, false),
            (more with { KeySet = new KeySet(7, "capsul") }, false)])
            (await Seed.IsCurrentAsync(vm, file, TestContext.Current.CancellationToken)).ShouldBe(isCurrent);
        await Seed.WriteAsync(Vm, file, TestContext.Current.CancellationToken);
        (await Seed.IsCurrentAsync(Vm, file, TestContext.Current.CancellationToken)).ShouldBeTrue();
        (await Seed.IsCurrentAsync(more, file, TestContext.Current.CancellationToken)).ShouldBeFalse();
        // The command itself, with the machine's own cards.
        (await new Command("sh", "-c", Seed.UseAddress("52:54:00:12:34:56", IPAddress.Parse("203.0.113.3")))
            .TryRunAsync(TestContext.Current.CancellationToken)).ExitCode.ShouldBe(0, "it is no card's here");
    }

    [Fact]
    public async Task A_seed_with_other_keys_says_which_and_what_is_run_needs_no_quoting()
    {
        var vm = Vm with { KeySet = new KeySet(7, "debian"), SshKeys = ["ssh-ed25519 AAAA x'; reboot \"$(reboot)"] };
        Seed.MetaData(vm).ShouldEndWith("capsul-keys: 7\n");
        Seed.MetaData(vm).ShouldContain($"instance-id: {vm.Id}\n", Case.Sensitive, "it is the same instance");
        var run = Seed.UserData(vm).Split('\n').Single(l => l.StartsWith("  - [sh, -c, ", StringComparison.Ordinal));
        run.ShouldNotContain("reboot");
        run.ShouldContain("debian");
        var file = Path.Combine(TestFolder.Make("seed"), "seed.iso");
        await Seed.WriteAsync(vm, file, TestContext.Current.CancellationToken);
        foreach (var (number, has) in ((long, bool)[])[(7, true), (70, false), (8, false)])
            (await Seed.IsCurrentAsync(vm with { KeySet = new KeySet(number, "debian") }, file,
                TestContext.Current.CancellationToken)).ShouldBe(has);
    }

    /// <summary>What cloud-init would run, with a folder in place of the guest's.</summary>
    [Fact]
    public async Task The_script_replaces_the_keys_once_and_says_so_each_time()
    {
        var folder = TestFolder.Make("guest");
        var (home, console) = (Path.Combine(folder, "home"), Path.Combine(folder, "console"));
        Directory.CreateDirectory(Path.Combine(home, ".ssh"));
        var keys = Path.Combine(home, ".ssh", "authorized_keys");
        await File.WriteAllTextAsync(keys, "ssh-ed25519 OLD\n", TestContext.Current.CancellationToken);
        var script = Seed.TakeKeys(new KeySet(7, "root"), ["ssh-ed25519 AAAA", "ssh-ed25519 BBBB"])
            .Replace("/var/lib/capsul-keys", Path.Combine(folder, "taken"), StringComparison.Ordinal)
            .Replace("/dev/console", console, StringComparison.Ordinal)
            .Replace("getent passwd root", $"echo root:x:0:0:root:{home}:/bin/sh", StringComparison.Ordinal)
            .Replace(">" + console, ">>" + console, StringComparison.Ordinal);
        await new Command("sh", "-c", script).RunAsync(TestContext.Current.CancellationToken);
        (await File.ReadAllTextAsync(keys, TestContext.Current.CancellationToken))
            .ShouldBe("ssh-ed25519 AAAA\nssh-ed25519 BBBB\n");
        File.GetUnixFileMode(keys).ShouldBe(UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await File.WriteAllTextAsync(keys, "ssh-ed25519 LATER\n", TestContext.Current.CancellationToken);
        await new Command("sh", "-c", script).RunAsync(TestContext.Current.CancellationToken);
        (await File.ReadAllTextAsync(keys, TestContext.Current.CancellationToken)).ShouldBe("ssh-ed25519 LATER\n");
        (await File.ReadAllTextAsync(console, TestContext.Current.CancellationToken)).Split('\n').Count(
            l => ConsoleText.KeySet(l) == 7).ShouldBe(2);
    }

    [Theory]
    [InlineData("123", "\"123\"")]
    [InlineData("1e5", "\"1e5\"")]
    [InlineData("on", "\"on\"")]
    [InlineData("null", "\"null\"")]
    [InlineData("web-1", "web-1")]
    public void A_host_name_is_always_a_string(string name, string written) =>
        Seed.MetaData(Vm with { Name = name }).ShouldEndWith($"local-hostname: {written}\n");

    [Fact]
    public void Elements_of_a_set_are_read_from_nfts_output()
    {
        Filter.Elements("""
            {"nftables":[{"metainfo":{}},{"set":{"name":"macs","elem":[{"concat":["cap1","52:54:00:00:00:01"]}]}}]}
            """)
            .ShouldHaveSingleItem().Parts.ShouldBe(["cap1", "52:54:00:00:00:01"]);
        Filter.Elements("""{"nftables":[{"set":{"name":"macs"}}]}""").ShouldBeEmpty();
    }

    static XElement Domain(DomainFiles files) => XElement.Parse(
        DomainXml.Write(Vm, Tiny.CommandLine, files, kvm: false));
}
