using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Spoke;
using Capsul.Spoke.Hypervisor;
using Capsul.Spoke.Images;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;
using ForeignMachine = Capsul.Spoke.Hypervisor.ForeignMachine;

namespace Capsul.Tests.Features.Vms;

/// <summary>A machine that Capsul did not make becomes a VM, or stays as it is.</summary>
public sealed class AdoptVmTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task What_cannot_be_adopted_is_refused_in_words()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddForeignAsync("plain", Cancel);
        await rows.AddForeignAsync("big", Cancel, diskGb: 999);
        await rows.AddForeignAsync("odd", Cancel, refusal: "It has 2 disks; a capsul has exactly one.");
        (await RefusalAsync(rows, "plain", host: "rack9")).ShouldBe("There is no host rack9.");
        (await RefusalAsync(rows, "other")).ShouldBe("rack1 reports no machine other that could be adopted.");
        (await RefusalAsync(rows, "odd"))
            .ShouldBe("odd cannot be adopted. It has 2 disks; a capsul has exactly one.");
        (await RefusalAsync(rows, "plain", size: "f9")).ShouldBe("There is no size called f9.");
        (await RefusalAsync(rows, "big")).ShouldStartWith("big does not fit size f1-xs: it has a disk of 999 GiB (");
        await rows.AdoptAsync(Cancel, "plain2");
        (await RefusalAsync(rows, "plain2")).ShouldBe("plain2 is being adopted already.");
        await rows.Db.ExecuteAsync("UPDATE hosts SET online = FALSE", null, Cancel);
        (await RefusalAsync(rows, "plain")).ShouldStartWith("rack1 is offline or drained");
        (await rows.CountAsync("vms", "TRUE", Cancel)).ShouldBe(1);
    }

    static async Task<string> RefusalAsync(
        VmRows rows, string name, string? host = null, string size = "f1-xs") =>
        (await rows.TryAdoptAsync(Cancel, name, host, size)).Problem!.Message;

    [Fact]
    public async Task It_has_the_size_the_price_its_own_hardware_address_and_is_capsuls_when_it_answers()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.AdoptAsync(Cancel, "legacy");
        var wanted = (await rows.Db.ListAsync<WantedRow>(HostSql.Wanted, new { host = VmRows.Host, since = 0 }, Cancel))
            .ShouldHaveSingleItem();
        (wanted.Image, wanted.HasRun, wanted.Mac, wanted.Name, wanted.Adopted)
            .ShouldBe((Protocol.AdoptedImage, true, "52:54:00:00:00:07", "legacy", false));
        Formats.IsUuid(wanted.Adopt).ShouldBeTrue();
        (await rows.Db.ListAsync<ForeignMachineRow>(ForeignMachineSql.OfHost, new { host = VmRows.Host }, Cancel))
            .ShouldBeEmpty("it is not offered twice");
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
        var after = (await rows.Db.ListAsync<WantedRow>(HostSql.Wanted, new { host = VmRows.Host, since = 0 }, Cancel))
            .ShouldHaveSingleItem();
        after.Adopted.ShouldBeTrue();
        after.WantedGeneration.ShouldBeGreaterThan(wanted.WantedGeneration);
        (await rows.CountAsync("usage_spans", "upper_inf(span)", Cancel)).ShouldBe(1);
        (await rows.CountAsync("operation_events", "message = 'Ready; host key not verified'", Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task Its_hardware_address_goes_with_it_when_it_is_given_back()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.AdoptAsync(Cancel, "legacy");
        (await rows.CancelAsync(vm, Cancel)).OrThrow();
        await rows.SettleAsync(Cancel);
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Address.ShouldBeNull();
        (await rows.CountAsync("addresses", "mac IN ('52:54:0a:4d:00:02', '52:54:0a:4d:00:03')", Cancel))
            .ShouldBe(2, "the next VM does not get the address of a machine on the same network");
    }

    [Fact]
    public async Task A_spoke_that_has_not_heard_of_it_yet_has_lost_nothing()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AdoptAsync(Cancel, "legacy");
        await new HostReports(VmRows.Host, rows.Epoch, rows.Db, rows.Fence, rows.Settings, rows.Time,
            NullLogger.Instance).TakeInAsync([], isInventory: true, Cancel);
        (await rows.CountAsync("alerts", "cleared IS NULL", Cancel)).ShouldBe(0);
    }

    [Fact]
    public void A_report_of_foreign_machines_is_checked()
    {
        var foreign = new ForeignMachines
        {
            Machines = { new Wire.ForeignMachine { Uuid = Guid.Empty.ToString(), Name = "a\u001b[1mb", Mac = "; rm" } },
        };
        var row = Intake.Check(foreign).ShouldHaveSingleItem();
        (row.Name, row.Mac, row.Power).ShouldBe(("a [1mb", "", "unknown"));
        foreign.Machines[0].Uuid = "../x";
        Should.Throw<Grpc.Core.RpcException>(() => Intake.Check(foreign));
    }

    /// <summary>A real Spoke over the simulated hypervisor, a real link.</summary>
    [Fact]
    public async Task A_machine_is_shut_down_taken_over_and_started_and_one_that_does_not_shut_down_is_given_back()
    {
        await using var link = await LinkHub.StartAsync();
        var folder = TestFolder.Make("adopter");
        var identity = await link.JoinAsync("rack1", folder);
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = folder,
        });
        var images = new ImageStore(settings.Images);
        await using var hypervisor = new Simulated(settings, images, TimeProvider.System) { RelaysListen = false };
        hypervisor.AddForeign(Machine("web", 1));
        hypervisor.AddForeign(Machine("deaf", 2));
        using var stop = new CancellationTokenSource();
        var spoke = Task.Run(() => new SpokeProgram(settings, identity, hypervisor, images, TimeProvider.System,
            NullLoggerFactory.Instance).RunAsync(stop.Token), Cancel);
        await link.Db.ExecuteAsync("INSERT INTO accounts (email) VALUES (@Email)", new { VmRows.Email }, Cancel);
        await Until.TrueAsync("the machines are reported", Limit, () => link.Db.AskAsync<bool>(
            "SELECT count(*) = 2 FROM foreign_machines", null, Cancel));

        var vm = (await AdoptAsync(link, "web")).OrThrow();
        await StateAsync(link, vm, "running");
        await Until.TrueAsync("its old definition is gone", Limit, async () =>
            (await hypervisor.ForeignAsync(Cancel)).Select(f => f.Name).SequenceEqual(["deaf"]));
        (await hypervisor.ListAsync(Cancel)).ShouldHaveSingleItem().Power.ShouldBe(DomainPower.On);
        hypervisor.DisksMade.ShouldBeEmpty("it has its own disk");

        hypervisor.GuestListens = false;
        var other = (await AdoptAsync(link, "deaf")).OrThrow();
        await Until.TrueAsync("it is asked", Limit, async () => (await hypervisor.ForeignAsync(Cancel)).Count == 0);
        (await CancelVm.RunAsync(link.Db, VmFeature.Operations, VmRows.Email, other, TimeProvider.System, Cancel))
            .OrThrow();
        await StateAsync(link, other, "failed");
        (await hypervisor.ForeignAsync(Cancel)).ShouldHaveSingleItem().ShouldBe(Machine("deaf", 2));
        (await link.Db.AskAsync<long>("SELECT count(*) FROM usage_spans WHERE vm = @other", new { other }, Cancel))
            .ShouldBe(0);
        await EndAsync(stop, spoke);
    }

    [Fact]
    public async Task A_host_with_any_number_of_machines_or_one_that_cannot_list_them_stays_connected()
    {
        await using var link = await LinkHub.StartAsync();
        var folder = TestFolder.Make("crowded");
        var identity = await link.JoinAsync("rack1", folder);
        var settings = Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["CAPSUL_DATA"] = folder,
        });
        var images = new ImageStore(settings.Images);
        await using var hypervisor = new Simulated(settings, images, TimeProvider.System) { RelaysListen = false };
        for (var n = 0; n <= Protocol.MaxForeign; n++)
            hypervisor.AddForeign(Machine("web", 1) with { Uuid = $"00000000-0000-4000-8000-{n:d12}" });
        using var stop = new CancellationTokenSource();
        var spoke = Task.Run(() => new SpokeProgram(settings, identity, hypervisor, images, TimeProvider.System,
            NullLoggerFactory.Instance).RunAsync(stop.Token), Cancel);
        await Until.TrueAsync("the first machines are reported", Limit, () => link.Db.AskAsync<bool>(
            "SELECT count(*) = 1000 FROM foreign_machines", null, Cancel));

        hypervisor.Inject(Verb.Foreign, new Fault(FaultKind.Hang, By: TimeSpan.FromHours(1)));
        var before = await link.Db.FindAsync<DateTime>("SELECT last_seen FROM hosts WHERE id = 'rack1'", null, Cancel);
        await Until.TrueAsync("its heart beats on", Limit, () => link.Db.AskAsync<bool>(
            "SELECT last_seen > @before + interval '11 s' AND online FROM hosts WHERE id = 'rack1'",
            new { before }, Cancel));
        await EndAsync(stop, spoke);
    }

    static async Task EndAsync(CancellationTokenSource stop, Task spoke)
    {
        await stop.CancelAsync();
        await spoke.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    static ForeignMachine Machine(string name, int number) => new(
        $"00000000-0000-4000-8000-00000000000{number}", name, DomainPower.On, 1, 512, 5, "qcow2",
        $"52:54:00:00:01:0{number}", "");

    static Task<Outcome<string>> AdoptAsync(LinkHub link, string name) => AdoptVm.RunAsync(link.Db, "test",
        new AdoptVm.Input("rack1", name, VmRows.Email, "f1-xs", null, null),
        Settings.Load(new Dictionary<string, string>(StringComparer.Ordinal)), TimeProvider.System, Cancel);

    static Task StateAsync(LinkHub link, string vm, string state) => Until.TrueAsync($"{vm} is {state}", Limit, () =>
        link.Db.AskAsync<bool>("SELECT state = @state FROM vms WHERE id = @vm", new { vm, state }, Cancel));
}
