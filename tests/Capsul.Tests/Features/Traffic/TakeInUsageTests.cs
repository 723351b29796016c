using Capsul.Foundation;
using Capsul.Hub.Features.Traffic;
using Capsul.Hub.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Traffic;

/// <summary>Counters of a Spoke become sums of a month, whatever is repeated, lost, begun again or invented.</summary>
public sealed class TakeInUsageTests
{
    static readonly TimeSpan Pause = TimeSpan.FromMinutes(5);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Counters_that_are_repeated_or_begin_again_add_up()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await ReportAsync(rows, vm, received: 100, sent: 10);
        await ReportAsync(rows, vm, received: 100, sent: 10);
        await ReportAsync(rows, vm, received: 150, sent: 30);
        await ReportAsync(rows, vm, received: 20, sent: 40); // It was restarted.
        (await MonthsAsync(rows, vm)).ShouldHaveSingleItem()
            .ShouldBe(new TrafficRow(new DateTime(2026, 3, 1), 170, 40));
        rows.Time.Advance(TimeSpan.FromDays(31));
        await ReportAsync(rows, vm, received: 21, sent: 40);
        (await MonthsAsync(rows, vm)).ShouldBe(
            [new TrafficRow(new DateTime(2026, 4, 1), 1, 0), new TrafficRow(new DateTime(2026, 3, 1), 170, 40)]);
    }

    [Fact]
    public async Task Counting_begins_where_it_begins_for_a_vm_that_ran_long_before()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromDays(2));
        await ReportAsync(rows, vm, received: 1_000_000, sent: 1_000_000);
        (await MonthsAsync(rows, vm)).ShouldBeEmpty();
        await ReportAsync(rows, vm, received: 1_000_007, sent: 1_000_000);
        (await MonthsAsync(rows, vm)).ShouldHaveSingleItem().All.ShouldBe(7);
    }

    [Fact]
    public async Task A_host_can_say_nothing_of_vms_that_are_elsewhere_and_cannot_spoil_the_sums_of_its_own()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("INSERT INTO hosts (id, state) VALUES ('evil', 'joined')", null, Cancel);
        await ReportAsync(rows, vm, received: 100, host: "evil");
        (await rows.CountAsync("vm_usage", "TRUE", Cancel)).ShouldBe(0);
        for (var n = 0; n < 10; n++) await ReportAsync(rows, vm, received: n % 2 == 0 ? 1L << 60 : 0, sent: 1L << 60);
        (await MonthsAsync(rows, vm)).Single().Received.ShouldBe(1L << 61);
        (await rows.Db.AskAsync<long>("SELECT received + sent FROM vm_traffic", null, Cancel)).ShouldBeGreaterThan(0);
    }

    [Fact]
    public async Task Its_owner_is_told_once_in_a_month_that_it_is_more_than_is_meant()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var settings = rows.Settings.With(("CAPSUL_TRAFFIC_GIB", "2"));
        await ReportAsync(rows, vm, received: 1L << 30, settings: settings);
        (await MailsAsync(rows)).ShouldBeEmpty();
        for (var n = 0; n < 3; n++) await ReportAsync(rows, vm, received: 3L << 30, sent: n, settings: settings);
        (await MailsAsync(rows)).ShouldHaveSingleItem().ShouldContain("received 3.0 GiB and sent 0 MiB");
        rows.Time.Advance(TimeSpan.FromDays(31));
        await ReportAsync(rows, vm, received: 6L << 30, sent: 3, settings: settings);
        (await MailsAsync(rows)).Count.ShouldBe(2);
    }

    [Fact]
    public async Task The_share_of_its_cpus_is_known_and_since_when_they_have_been_busy()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE vms SET vcpus = 2", null, Cancel);
        await ReportAsync(rows, vm, cpu: 0);
        var cpu = 0L;
        foreach (var (percent, busy) in ((int, bool)[])[(50, false), (96, true), (100, true), (0, false), (97, true)])
        {
            var before = rows.Now;
            rows.Time.Advance(Pause);
            cpu += (long)(Pause.TotalMilliseconds * 2 * percent / 100);
            await ReportAsync(rows, vm, cpu: cpu);
            var row = (await rows.Db.FindAsync<UsedNowRow>(TrafficSql.Now, new { id = vm, now = rows.Now }, Cancel))!;
            row.CpuPercent.ShouldBe(percent);
            var since = await rows.Db.FindAsync<DateTime?>("SELECT busy_since FROM vm_usage", null, Cancel);
            (since is not null).ShouldBe(busy, $"{percent} %");
            if (percent == 100) since.ShouldBe(before - Pause);
        }
    }

    [Fact]
    public async Task Connections_of_an_hour_are_noticed_when_they_are_too_many()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var settings = rows.Settings.With(("CAPSUL_ALERT_CONNECTIONS", "100"));
        await ReportAsync(rows, vm, connections: 60, settings: settings);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await ReportAsync(rows, vm, connections: 120, settings: settings);
        (await CrowdedAsync(rows)).ShouldBeNull("60 in either hour");
        await ReportAsync(rows, vm, connections: 40, settings: settings);
        (await CrowdedAsync(rows)).ShouldBe(rows.Now, "100 in this hour");
    }

    static Task<DateTime?> CrowdedAsync(VmRows rows) =>
        rows.Db.FindAsync<DateTime?>("SELECT crowded FROM vm_usage", null, Cancel);

    static Task<IReadOnlyList<TrafficRow>> MonthsAsync(VmRows rows, string vm) =>
        rows.Db.ListAsync<TrafficRow>(TrafficSql.Months, new { id = vm, email = VmRows.Email }, Cancel);

    static Task<IReadOnlyList<string>> MailsAsync(VmRows rows) => rows.Db.ListAsync<string>(
        "SELECT body FROM mails WHERE subject LIKE '% of traffic this month' ORDER BY id", null, Cancel);

    /// <summary>As it arrives at the Hub.</summary>
    static Task ReportAsync(VmRows rows, string vm, long cpu = 0, long received = 0, long sent = 0,
        long connections = 0, string host = VmRows.Host, Settings? settings = null)
    {
        var listener = new Capsul.Hub.Storage.Listener(
            rows.Db, rows.Time, NullLogger<Capsul.Hub.Storage.Listener>.Instance);
        var line = new SpokeConnection(host, rows.Epoch, rows.Db, rows.Fence, new Heartbeats(rows.Fence, rows.Time),
            listener, settings ?? rows.Settings, rows.Time, NullLogger.Instance);
        var used = new VmUsage
        {
            Id = vm,
            CpuMs = cpu,
            ReceivedBytes = received,
            SentBytes = sent,
            Connections = connections,
        };
        return line.TakeInAsync(new SpokeMessage { Usage = new Usage { Vms = { used } } }, Cancel);
    }
}
