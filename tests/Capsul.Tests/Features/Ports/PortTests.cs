using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Ports;
using Capsul.Hub.Features.Vms;
using Capsul.Spoke.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;
using Npgsql;

namespace Capsul.Tests.Features.Ports;

/// <summary>Which ports lead to VMs, as rows.</summary>
public sealed class PortTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly Settings HubHasPorts = Settings.Load(new Dictionary<string, string>
    {
        ["CAPSUL_DATA"] = "/tmp/capsul-none",
        ["CAPSUL_HUB_PORTS"] = "20000-20001",
        ["CAPSUL_MAX_PORTS"] = "4",
    });

    [Theory]
    [InlineData("0", "host", "Port")]
    [InlineData("65536", "host", "Port")]
    [InlineData("http", "host", "Port")]
    [InlineData("53/udp/", "host", "Port")]
    [InlineData("53/sctp", "host", "Protocol")]
    [InlineData("53/udp", "hub", "Protocol")]
    [InlineData("80", "me", "Via")]
    public async Task What_is_no_port_is_refused(string port, string via, string field)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var id = await rows.RunningVmAsync(Cancel);
        (await OpenAsync(rows, id, port, via)).Problem!.Field.ShouldBe(field);
    }

    [Fact]
    public async Task A_port_is_of_the_host_or_of_the_hub_and_of_one_vm()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var id = await rows.RunningVmAsync(Cancel);
        (await OpenAsync(rows, id, "80", "host")).Problem!.Message.ShouldBe("rack1 has no ports for that.");
        (await OpenPort.RunAsync(rows.Db, "a", VmRows.Email, id, "80", "hub", rows.Settings, rows.Time, Cancel))
            .Problem!.Message.ShouldBe("The Hub has no ports for that.");
        await HaveAsync(rows, VmRows.Host, 31000, 31000);
        (await OpenAsync(rows, id, "80", "host")).OrThrow().Port.ShouldBe(31000);
        (await OpenAsync(rows, id, "443", "host")).Problem!.Kind.ShouldBe(ProblemKind.NoCapacity);
        var hub = (await OpenAsync(rows, id, "80", "hub")).OrThrow();
        hub.Port.ShouldBeInRange(20000, 20001);
        (await OpenAsync(rows, id, "80", "hub")).Problem!.Message.ShouldBe("This port is open already.");
        (await OpenPort.RunAsync(rows.Db, "b", "bob@example.org", id, "22", "hub", HubHasPorts, rows.Time, Cancel))
            .Problem.ShouldBe(VmAction.NotFound);

        var vm = await rows.FindAsync(id, Cancel);
        (await rows.Db.ListAsync<WantedRow>(
            HostSql.Wanted, new { host = VmRows.Host, since = vm.WantedGeneration - 1 }, Cancel))
            .ShouldHaveSingleItem().Ports.ShouldBe("80 31000 tcp", "what leads to it through the Hub is the Hub's");

        (await ClosePort.RunAsync(rows.Db, "b", "bob@example.org", id, "80", "host", Cancel)).Problem
            .ShouldBe(VmAction.NotFound);
        (await ClosePort.RunAsync(rows.Db, "a", VmRows.Email, id, "80", "host", Cancel)).OrThrow();
        (await ClosePort.RunAsync(rows.Db, "a", VmRows.Email, id, "80", "host", Cancel)).Problem!.Kind
            .ShouldBe(ProblemKind.NotFound);
        (await OpenAsync(rows, id, "443", "host")).OrThrow().Port.ShouldBe(31000);
    }

    [Fact]
    public async Task A_port_of_a_host_leads_to_a_tcp_and_to_a_udp_port()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var id = await rows.RunningVmAsync(Cancel);
        await HaveAsync(rows, VmRows.Host, 31000, 31000);
        (await OpenAsync(rows, id, "53/udp", "host")).Problem!.Message.ShouldContain("an older version of Capsul");
        await rows.Db.ExecuteAsync("UPDATE hosts SET forwards_udp = TRUE", null, Cancel);
        (await OpenAsync(rows, id, "53/udp", "host")).OrThrow().Port.ShouldBe(31000);
        (await OpenAsync(rows, id, "53/UDP", "host")).Problem!.Kind.ShouldBe(ProblemKind.NoCapacity);
        (await OpenAsync(rows, id, "53", "host")).OrThrow().Port.ShouldBe(31000);
        var vm = await rows.FindAsync(id, Cancel);
        (await rows.Db.ListAsync<WantedRow>(
            HostSql.Wanted, new { host = VmRows.Host, since = vm.WantedGeneration - 1 }, Cancel))
            .ShouldHaveSingleItem().Ports.ShouldBe("53 31000 tcp\n53 31000 udp");
        await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(
            "UPDATE ports SET via = 'hub', host = NULL WHERE protocol = 'udp'", null, Cancel));

        (await ClosePort.RunAsync(rows.Db, "a", VmRows.Email, id, "53/udp", "host", Cancel)).OrThrow();
        (await rows.CountAsync("ports", "protocol = 'tcp'", Cancel)).ShouldBe(1);
        (await rows.CountAsync("ports", "TRUE", Cancel)).ShouldBe(1);
    }

    /// <summary>The port would lead to the VM's TCP port of that number, which nobody has opened.</summary>
    [Fact]
    public async Task A_udp_port_is_closed_when_the_vm_moves_to_a_host_that_does_not_know_them()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        await HaveAsync(rows, VmRows.Host, 31000, 31002);
        await HaveAsync(rows, VmRows.Target, 31000, 31002);
        await rows.Db.ExecuteAsync("UPDATE hosts SET forwards_udp = TRUE WHERE id = @id",
            new { id = VmRows.Host }, Cancel);
        var id = await rows.RunningVmAsync(Cancel);
        (await OpenAsync(rows, id, "53/udp", "host")).OrThrow();
        (await OpenAsync(rows, id, "53", "host")).OrThrow();
        (await rows.MoveAsync(id, Cancel)).OrThrow();
        await rows.CarryMoveAsync(id, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.CountAsync("ports", "host = 'rack2' AND protocol = 'tcp'", Cancel)).ShouldBe(1);
        (await rows.CountAsync("ports", "TRUE", Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task An_account_has_only_so_many_and_they_go_with_the_vm()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await HaveAsync(rows, VmRows.Host, 31000, 31099);
        var id = await rows.RunningVmAsync(Cancel);
        for (var port = 1; port <= 4; port++) (await OpenAsync(rows, id, $"{port}", "host")).OrThrow();
        (await OpenAsync(rows, id, "5", "hub")).Problem!.Message.ShouldContain("the most that it may have");
        (await rows.ChangeAsync(VmActions.Delete, id, Cancel)).OrThrow();
        (await OpenAsync(rows, id, "5", "hub")).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        await rows.ReportAsync(id, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.CountAsync("ports", "TRUE", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task They_follow_a_vm_that_moves()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        await HaveAsync(rows, VmRows.Host, 31000, 31002);
        await HaveAsync(rows, VmRows.Target, 31002, 31005);
        var id = await rows.RunningVmAsync(Cancel);
        for (var port = 1; port <= 3; port++) (await OpenAsync(rows, id, $"{port}", "host")).OrThrow();
        (await rows.MoveAsync(id, Cancel)).OrThrow();
        await rows.CarryMoveAsync(id, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.CountAsync("ports", "host = 'rack2' AND port BETWEEN 31002 AND 31005", Cancel)).ShouldBe(3);
        (await rows.CountAsync("ports", "port = 31002", Cancel)).ShouldBe(1, "it keeps the number that is free there");
    }

    [Fact]
    public async Task One_for_which_the_other_host_has_no_room_is_closed()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        await HaveAsync(rows, VmRows.Host, 31000, 31002);
        await HaveAsync(rows, VmRows.Target, 31001, 31002);
        var id = await rows.RunningVmAsync(Cancel);
        for (var port = 1; port <= 3; port++) (await OpenAsync(rows, id, $"{port}", "host")).OrThrow();
        (await rows.MoveAsync(id, Cancel)).OrThrow();
        await rows.CarryMoveAsync(id, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.CountAsync("ports", "host = 'rack2'", Cancel)).ShouldBe(2);
        (await rows.CountAsync("ports", "TRUE", Cancel)).ShouldBe(2);
    }

    [Fact]
    public void The_firewall_says_who_may_use_them()
    {
        var vm = new WantedVm { Firewall = new WantedFirewall { Owner = new string('0', 32) } };
        vm.Ports.Add(new WantedPort { VmPort = 80, HostPort = 31000 });
        var (near, far) = (System.Net.IPAddress.Parse("::ffff:192.0.2.7"), System.Net.IPAddress.Parse("2001:db8::7"));
        Forward.Of(vm).ShouldHaveSingleItem().Admits(near).ShouldBeFalse("it is closed");
        vm.Firewall.Rules.Add(new FirewallRule
        { Protocol = IpProtocol.Tcp, FirstPort = 70, LastPort = 90, Source = "192.0.2.0/24" });
        Forward.Of(vm)[0].Admits(near).ShouldBeTrue();
        Forward.Of(vm)[0].Admits(far).ShouldBeFalse();
        vm.Firewall.Rules.Add(new FirewallRule { Protocol = IpProtocol.Tcp, FirstPort = 80, LastPort = 80 });
        Forward.Of(vm)[0].Admits(far).ShouldBeTrue();
        vm.Ports.Add(new WantedPort { VmPort = 80, HostPort = 31000, Protocol = IpProtocol.Udp });
        Forward.Of(vm)[1].Admits(near).ShouldBeFalse("the rules are for TCP");
        vm.Firewall.Rules.Add(new FirewallRule { Protocol = IpProtocol.Udp, FirstPort = 80, LastPort = 80 });
        Forward.Of(vm)[1].Admits(near).ShouldBeTrue();
        vm.Firewall = null;
        Forward.Of(vm)[0].Admits(far).ShouldBeTrue("the Hub knows no firewalls");
    }

    static Task HaveAsync(VmRows rows, string host, int first, int last) => rows.Db.ExecuteAsync(
        "UPDATE hosts SET forward_first = @first, forward_last = @last WHERE id = @host", new { host, first, last },
        Cancel);

    static Task<Outcome<PortRow>> OpenAsync(VmRows rows, string id, string port, string via) => OpenPort.RunAsync(
        rows.Db, VmRows.Email, VmRows.Email, id, port, via, HubHasPorts, rows.Time, Cancel);
}
