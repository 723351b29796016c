using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Reconcilers;

/// <summary>VMs whose operation is gone, and what deleted VMs left behind.</summary>
public sealed class HalfMadeVmsTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task With_an_empty_operations_table_every_vm_still_comes_to_rest()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.Db.ExecuteAsync("""
            INSERT INTO addresses (host, address, mac)
            SELECT 'rack1', '10.77.0.10'::inet + n, ('52:54:0a:4d:00:1' || n)::macaddr FROM generate_series(0, 5) AS n
            """, null, Cancel);
        var creating = await rows.NewVmAsync(Cancel);
        var starting = await StoppedAsync(rows);
        (await rows.ChangeAsync(VmActions.Start, starting, Cancel)).OrThrow();
        var stopping = await ChangedAsync(rows, VmActions.Stop);
        var restarting = await ChangedAsync(rows, VmActions.Restart);
        var deleting = await ChangedAsync(rows, VmActions.Delete);
        var stopped = await StoppedAsync(rows);
        await rows.Db.ExecuteAsync("DELETE FROM operation_events; DELETE FROM operations", null, Cancel);

        var reconciler = new HalfMadeVms(rows.Fence, rows.Settings, rows.Time);
        (await reconciler.LookAsync(rows.Epoch, Cancel)).ShouldBe(5);
        (await reconciler.LookAsync(rows.Epoch, Cancel)).ShouldBe(0);
        foreach (var vm in (string[])[creating, starting, restarting])
            await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.ReportAsync(stopping, Power.Off, Phase.Defined, Cancel);
        await rows.ReportAsync(deleting, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        foreach (var (vm, state) in ((string, string)[])[(creating, "running"), (starting, "running"),
            (stopping, "stopped"), (restarting, "running"), (deleting, "deleted"), (stopped, "stopped")])
            (await rows.FindAsync(vm, Cancel)).State.ShouldBe(state);
        (await rows.CountAsync("operations", "finished IS NULL", Cancel)).ShouldBe(0);
        (await rows.CountAsync("alerts", "kind = 'operation_lost'", Cancel)).ShouldBe(5);
    }

    [Fact]
    public async Task A_wanted_state_that_contradicts_the_state_is_corrected_and_told_to_the_spoke()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await ChangedAsync(rows, VmActions.Delete);
        await rows.Db.ExecuteAsync("DELETE FROM operation_events; DELETE FROM operations; UPDATE vms SET wanted = 'on'",
            null, Cancel);
        var before = await rows.FindAsync(vm, Cancel);
        await new HalfMadeVms(rows.Fence, rows.Settings, rows.Time).LookAsync(rows.Epoch, Cancel);
        var after = await rows.FindAsync(vm, Cancel);
        after.Wanted.ShouldBe("gone");
        after.WantedGeneration.ShouldBeGreaterThan(before.WantedGeneration);
    }

    [Fact]
    public async Task A_vm_that_somebody_has_locked_is_left_for_the_next_round()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.NewVmAsync(Cancel);
        await rows.Db.ExecuteAsync("DELETE FROM operation_events; DELETE FROM operations", null, Cancel);
        var reconciler = new HalfMadeVms(rows.Fence, rows.Settings, rows.Time);
        await using (var connection = await rows.Db.OpenAsync(Cancel))
        {
            await using var locking = await connection.BeginTransactionAsync(Cancel);
            await using var command = new Npgsql.NpgsqlCommand("SELECT FROM vms FOR UPDATE", connection, locking);
            await command.ExecuteNonQueryAsync(Cancel);
            (await reconciler.LookAsync(rows.Epoch, Cancel)).ShouldBe(0);
        }
        (await reconciler.LookAsync(rows.Epoch, Cancel)).ShouldBe(1);
    }

    [Fact]
    public async Task What_a_deleted_vm_left_behind_is_released_and_an_alert_is_raised()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        var deleted = rows.Now;
        await rows.Db.ExecuteAsync("""
            UPDATE vms SET state = 'deleted', wanted = 'gone', observed = 'gone', deleted = @deleted
            """, new { deleted }, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        (await new HalfMadeVms(rows.Fence, rows.Settings, rows.Time).LookAsync(rows.Epoch, Cancel)).ShouldBe(2);
        (await rows.CountAsync("addresses", "vm IS NOT NULL", Cancel)).ShouldBe(0);
        (await rows.Db.FindAsync<DateTime>("SELECT upper(span) FROM usage_spans", null, Cancel)).ShouldBe(deleted);
        (await rows.Db.ListAsync<string>("SELECT kind FROM alerts WHERE subject = @vm ORDER BY 1", new { vm }, Cancel))
            .ShouldBe(["address_not_freed", "usage_not_closed"]);
    }

    static async Task<string> StoppedAsync(VmRows rows)
    {
        var vm = await ChangedAsync(rows, VmActions.Stop);
        await rows.ReportAsync(vm, Power.Off, Phase.Defined, Cancel);
        await rows.SettleAsync(Cancel);
        return vm;
    }

    static async Task<string> ChangedAsync(VmRows rows, VmAction action)
    {
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.ChangeAsync(action, vm, Cancel)).OrThrow();
        return vm;
    }
}
