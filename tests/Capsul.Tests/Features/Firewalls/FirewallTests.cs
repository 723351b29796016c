using System.Net;
using Capsul.Foundation;
using Capsul.Hub.Features.Firewalls;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Spoke.Hypervisor;
using Capsul.Tests.Support;
using Capsul.Wire;
using FirewallRule = Capsul.Hub.Features.Firewalls.FirewallRule;

namespace Capsul.Tests.Features.Firewalls;

public sealed class FirewallTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("tcp", "80", "", "tcp 80")]
    [InlineData("UDP", " 53 ", "anywhere", "udp 53")]
    [InlineData("tcp", "8000-8010", "203.0.113.5", "tcp 8000-8010 from 203.0.113.5/32")]
    [InlineData("tcp", "1-65535", "203.0.113.77/24", "tcp 1-65535 from 203.0.113.0/24")]
    [InlineData("tcp", "22", "2001:db8::77/33", "tcp 22 from 2001:db8::/33")]
    [InlineData("tcp", "22", "0.0.0.0/0", "tcp 22 from 0.0.0.0/0")]
    public void A_rule_is_read(string protocol, string ports, string source, string rule) =>
        FirewallRule.Parse(protocol, ports, source).OrThrow().ToString().ShouldBe(rule);

    [Theory]
    [InlineData("icmp", "80", "", "Protocol")]
    [InlineData("tcp", "", "", "Ports")]
    [InlineData("tcp", "0", "", "Ports")]
    [InlineData("tcp", "65536", "", "Ports")]
    [InlineData("tcp", "90-80", "", "Ports")]
    [InlineData("tcp", "80", "example.org", "Source")]
    [InlineData("tcp", "80", "203.0.113.0/33", "Source")]
    [InlineData("tcp", "80", "fe80::1%eth0", "Source")]
    [InlineData("tcp", "80", "::ffff:203.0.113.1", "Source")]
    [InlineData("tcp", "80", "1 accept; drop", "Source")]
    public void What_is_no_rule_is_refused(string protocol, string ports, string source, string field) =>
        FirewallRule.Parse(protocol, ports, source).Problem!.Field.ShouldBe(field);

    [Fact]
    public void A_preset_is_recognized_by_its_rules()
    {
        foreach (var (_, title, state) in FirewallState.Presets) state.Summary.ShouldBe(title);
        new FirewallState("closed", []).Summary.ShouldBe("Nothing");
        new FirewallState("closed", [new("udp", 53, 53, "")]).Summary.ShouldBe("Own rules");
    }

    [Fact]
    public async Task A_change_reaches_the_spoke_with_the_next_wanted_state()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var id = await rows.RunningVmAsync(Cancel);
        var before = (await rows.FindAsync(id, Cancel)).WantedGeneration;
        (await ChangeAsync(rows, id, new FirewallChange.Preset("ssh"))).OrThrow();
        (await ChangeAsync(rows, id, new FirewallChange.Allow("tcp", "80", "2001:db8::/32"))).OrThrow();
        (await ChangeAsync(rows, id, new FirewallChange.Allow("tcp", "80", "2001:db8::/32"))).OrThrow()
            .Rules.Count.ShouldBe(2, "the same again changes nothing");
        var vm = await rows.FindAsync(id, Cancel);
        (vm.State, vm.WantedGeneration).ShouldBe(("running", before + 2));
        var wanted = (await rows.Db.ListAsync<WantedRow>(
            HostSql.Wanted, new { host = VmRows.Host, since = before }, Cancel)).ShouldHaveSingleItem();
        var firewall = WantedFirewalls.ToWire(wanted.Email, wanted.Firewall, wanted.FirewallRules);
        firewall.Open.ShouldBeFalse();
        firewall.Owner.Length.ShouldBe(32);
        firewall.Rules.Select(r => $"{r.Protocol} {r.FirstPort} {r.Source}")
            .ShouldBe(["Tcp 22 ", "Tcp 80 2001:db8::/32"]);
        // The Spoke answers as it does a new wanted state, and the VM is as it was.
        await rows.ReportAsync(id, Power.On, Phase.Ready, Cancel);
        (await rows.FindAsync(id, Cancel)).ShouldSatisfyAllConditions(
            v => v.Answered.ShouldBeTrue(), v => v.State.ShouldBe("running"), v => v.Ready.ShouldBeTrue());

        (await ChangeAsync(rows, id, new FirewallChange.Remove("tcp", "80", "2001:db8::/32"))).OrThrow()
            .Summary.ShouldBe("SSH only");
        (await ChangeAsync(rows, id, new FirewallChange.Remove("tcp", "80", ""))).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
        (await ChangeAsync(rows, id, new FirewallChange.Policy("open"))).OrThrow().IsOpen.ShouldBeTrue();
        (await ChangeFirewall.RunAsync(
            rows.Db, "bob", "bob@example.org", id, new FirewallChange.Policy("open"), Cancel))
            .Problem.ShouldBe(VmAction.NotFound);
        (await rows.CountAsync("audit_lines", "action = 'change_firewall'", Cancel)).ShouldBe(4);
    }

    [Fact]
    public async Task There_are_only_so_many_rules()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var id = await rows.RunningVmAsync(Cancel);
        for (var port = 1; port <= Protocol.MaxFirewallRules; port++)
            (await ChangeAsync(rows, id, new FirewallChange.Allow("udp", $"{port}", null))).OrThrow();
        (await ChangeAsync(rows, id, new FirewallChange.Allow("udp", "1000", null))).Problem!.Message
            .ShouldContain("at most 50 rules");
    }

    static Task<Outcome<FirewallState>> ChangeAsync(VmRows rows, string id, FirewallChange change) =>
        ChangeFirewall.RunAsync(rows.Db, VmRows.Email, VmRows.Email, id, change, Cancel);

    [Fact]
    public void Its_way_over_the_link_and_into_a_record_loses_nothing()
    {
        var rules = "tcp 22 22\nudp 1000 2000 203.0.113.0/24";
        var wire = WantedFirewalls.ToWire("ada@example.org", "closed", rules);
        WantedFirewalls.FromWire(wire).Rules.ShouldBe(FirewallState.Read("closed", rules).Rules);
        wire.Owner.ShouldNotBe(WantedFirewalls.ToWire("bob@example.org", "closed", rules).Owner);
        var firewall = Firewall.Of(wire)!;
        firewall.Allows(IpProtocol.Tcp, 22, IPAddress.Parse("2001:db8::1")).ShouldBeTrue();
        firewall.Allows(IpProtocol.Udp, 1500, IPAddress.Parse("::ffff:203.0.113.9")).ShouldBeTrue();
        firewall.Allows(IpProtocol.Udp, 1500, IPAddress.Parse("203.0.114.9")).ShouldBeFalse();
        firewall.Allows(IpProtocol.Tcp, 80, IPAddress.Parse("203.0.113.9")).ShouldBeFalse();
    }

    [Theory]
    [InlineData(6, 1, 1, "", true)]
    [InlineData(17, 1, 65535, "2001:db8::/32", true)]
    [InlineData(1, 1, 1, "", false)]
    [InlineData(6, 0, 1, "", false)]
    [InlineData(6, 2, 1, "", false)]
    [InlineData(6, 1, 65536, "", false)]
    [InlineData(6, 1, 1, "1.2.3.4/24 accept", false)]
    [InlineData(6, 1, 1, "fe80::%eth0/64", false)]
    public void A_spoke_checks_rules(int protocol, int first, int last, string source, bool sound) =>
        Formats.IsRule(new Wire.FirewallRule
        {
            Protocol = (IpProtocol)protocol,
            FirstPort = first,
            LastPort = last,
            Source = source,
        }).ShouldBe(sound);
}
