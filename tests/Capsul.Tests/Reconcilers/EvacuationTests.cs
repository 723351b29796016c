using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Reconcilers;

/// <summary>All VMs of a host are moved away, a few at a time.</summary>
public sealed class EvacuationTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<VmRows> MakeAsync(int vms)
    {
        var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            INSERT INTO addresses (host, address, mac)
            SELECT 'rack1', '10.77.0.0'::inet + n, ('52:54:0a:4d:01:' || lpad(to_hex(n), 2, '0'))::macaddr
            FROM generate_series(4, 9) AS n
            """, null, Cancel);
        for (var n = 0; n < vms; n++) await rows.RunningVmAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        return rows;
    }

    static Task<int> LookAsync(VmRows rows) =>
        new Evacuation(rows.Db, rows.Fence, rows.Settings, rows.Time).LookAsync(rows.Epoch, Cancel);

    [Fact]
    public async Task Two_at_a_time_until_none_is_left()
    {
        await using var rows = await MakeAsync(3);
        (await EvacuateHost.RunAsync(rows.Db, "ops", VmRows.Host, null, "broken fan", Cancel)).OrThrow();
        (await LookAsync(rows)).ShouldBe(2);
        (await LookAsync(rows)).ShouldBe(0, "two are on their way");
        for (var round = 0; round < 3; round++)
        {
            foreach (var vm in await rows.Db.ListAsync<string>(
                "SELECT vm FROM operations WHERE kind = 'move_vm' AND finished IS NULL", null, Cancel))
                await rows.CarryMoveAsync(vm, Cancel);
            await rows.SettleAsync(Cancel);
            await LookAsync(rows);
        }
        (await rows.CountAsync("vms", "host = 'rack2' AND state = 'running'", Cancel)).ShouldBe(3);
        (await rows.Db.FindAsync<string>("SELECT drain_reason FROM hosts WHERE id = 'rack1'", null, Cancel))
            .ShouldBe("broken fan");
        (await UndrainHost.RunAsync(rows.Db, "ops", VmRows.Host, Cancel)).OrThrow();
        (await rows.CountAsync("hosts", "evacuating", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task What_cannot_be_moved_is_an_alert_that_says_why_and_it_is_tried_again()
    {
        await using var rows = await MakeAsync(1);
        await rows.Db.ExecuteAsync("UPDATE hosts SET memory_mb = 256 WHERE id = 'rack2'", null, Cancel);
        (await EvacuateHost.RunAsync(rows.Db, "ops", VmRows.Host, VmRows.Target, "old", Cancel)).OrThrow();
        (await LookAsync(rows)).ShouldBe(0);
        var watch = new AlertWatch(rows.Db, rows.Fence, rows.Settings, new LinkAuthority(rows.Now.AddYears(5)),
            rows.Time);
        await watch.LookAsync(rows.Epoch, Cancel);
        var alert = (await rows.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel))
            .Single(a => a.Kind == RaiseAlert.EvacuationStuck);
        alert.Subject.ShouldBe("rack1");
        alert.Message.ShouldContain("rack2 has 256 MiB of memory free; the capsul needs 512 MiB.");

        await rows.Db.ExecuteAsync("UPDATE hosts SET memory_mb = 4096 WHERE id = 'rack2'", null, Cancel);
        (await LookAsync(rows)).ShouldBe(0, "it was tried a moment ago");
        rows.Time.Advance(TimeSpan.FromMinutes(6));
        (await LookAsync(rows)).ShouldBe(1);
        await watch.LookAsync(rows.Epoch, Cancel);
        (await rows.Db.ListAsync<AlertRow>(AlertSql.Open, null, Cancel))
            .ShouldNotContain(a => a.Kind == RaiseAlert.EvacuationStuck);
    }

    [Fact]
    public async Task A_move_that_came_back_is_remembered_with_its_reason()
    {
        await using var rows = await MakeAsync(1);
        (await EvacuateHost.RunAsync(rows.Db, "ops", VmRows.Host, null, "old", Cancel)).OrThrow();
        await LookAsync(rows);
        var vm = await rows.Db.FindAsync<string>("SELECT vm FROM moves", null, Cancel);
        await rows.ReportCopyAsync(vm!, Power.Off, Cancel, r => (r.Problem, r.ProblemFinal) = ("It is full.", true));
        await rows.SettleAsync(Cancel);
        (await rows.Db.FindAsync<string>("SELECT problem FROM move_refusals", null, Cancel))
            .ShouldBe("rack2: It is full.");
    }

    [Fact]
    public async Task A_host_cannot_be_evacuated_to_itself_or_to_one_that_is_not_there()
    {
        await using var rows = await MakeAsync(0);
        (await EvacuateHost.RunAsync(rows.Db, "ops", VmRows.Host, VmRows.Host, "x", Cancel)).Problem!.Field
            .ShouldBe("To");
        (await EvacuateHost.RunAsync(rows.Db, "ops", VmRows.Host, "rack9", "x", Cancel)).Problem!.Message
            .ShouldContain("no host rack9");
        (await EvacuateHost.RunAsync(rows.Db, "ops", VmRows.Host, null, " ", Cancel)).Problem!.Field.ShouldBe("Reason");
    }
}
