using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Features.Vms;

/// <summary>A restart request is carried out once or withdrawn, never carried out later.</summary>
public sealed class RestartVmTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_withdrawn_restart_is_not_carried_out_when_the_host_returns()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        var before = await rows.FindAsync(vm, Cancel);
        await RestartAsync(rows, vm);
        await MissDeadlineAsync(rows, vm);

        var after = await rows.FindAsync(vm, Cancel);
        (after.State, after.Wanted).ShouldBe(("running", "on"));
        after.Restarts.ShouldBe(before.Restarts, "a Spoke power-cycles a VM whose restarts are more than it has done");
        (await GraceAsync(rows, vm)).ShouldBe(
            (int)rows.Settings.StopGrace.TotalSeconds, "if the guest must be stopped after all, it may shut down");
    }

    [Fact]
    public async Task After_a_withdrawn_restart_the_next_one_is_a_new_request()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await RestartAsync(rows, vm);
        var first = (await rows.FindAsync(vm, Cancel)).Restarts;
        await MissDeadlineAsync(rows, vm);
        await RestartAsync(rows, vm);
        // The host may have carried out the first one without being able to report it: its number must not be reused.
        (await rows.FindAsync(vm, Cancel)).Restarts.ShouldBeGreaterThan(first);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => r.Restarts = first);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running");
    }

    static async Task RestartAsync(VmRows rows, string vm) =>
        (await rows.ChangeAsync(VmActions.Restart, vm, Cancel)).OrThrow();

    static async Task MissDeadlineAsync(VmRows rows, string vm)
    {
        rows.Time.Advance(rows.Settings.StopGrace + TimeSpan.FromMinutes(6));
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("failed");
    }

    static Task<int> GraceAsync(VmRows rows, string vm) =>
        rows.Db.FindAsync<int>("SELECT stop_grace_seconds FROM vms WHERE id = @vm", new { vm }, Cancel);
}
