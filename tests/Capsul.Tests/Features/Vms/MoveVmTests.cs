using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Reconcilers;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Features.Vms;

/// <summary>Moves as the database sees them: who owns the VM, its addresses and charges, at every way to end.</summary>
public sealed class MoveVmTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<(VmRows Rows, string Vm)> BeginAsync(string? to = null)
    {
        var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromMinutes(10));
        (await rows.MoveAsync(vm, Cancel, to)).OrThrow();
        return (rows, vm);
    }

    /// <summary>The VM is on the target in the database, and has not been reported from there.</summary>
    static async Task<(VmRows Rows, string Vm)> SwitchAsync()
    {
        var (rows, vm) = await BeginAsync();
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        await rows.ArriveAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Host.ShouldBe(VmRows.Target);
        return (rows, vm);
    }

    static Task<IReadOnlyList<string>> AddressesAsync(VmRows rows, string vm) => rows.Db.ListAsync<string>(
        "SELECT host || ' ' || host(address) FROM addresses WHERE vm = @vm ORDER BY 1", new { vm }, Cancel);

    static Task<IReadOnlyList<int>> CountersAsync(VmRows rows) =>
        rows.Db.ListAsync<int>("SELECT vms FROM hosts ORDER BY id", null, Cancel);

    static async Task<bool> IsChargedAsync(VmRows rows, string vm) =>
        await rows.CountAsync("usage_spans", $"vm = '{vm}' AND upper_inf(span)", Cancel) == 1;

    [Fact]
    public async Task The_source_owns_it_until_the_target_has_the_verified_disk()
    {
        var (rows, vm) = await BeginAsync();
        await using var _ = rows;
        var row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted).ShouldBe((VmRows.Host, "moving", "off"));
        (await AddressesAsync(rows, vm)).ShouldBe(["rack1 10.77.0.2", "rack2 10.77.0.2"], "it keeps its address");
        (await CountersAsync(rows)).ShouldBe([1, 1]);

        // Not before it is off, whatever the target says.
        await rows.ArriveAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Host.ShouldBe(VmRows.Host);
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted, row.Observed).ShouldBe((VmRows.Target, "moving", "on", "unknown"));
        (await IsChargedAsync(rows, vm)).ShouldBeFalse();
        (await CountersAsync(rows)).ShouldBe([1, 1], "the source keeps its copy");

        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.SettleAsync(Cancel);
        (await IsChargedAsync(rows, vm)).ShouldBeTrue();
        (await rows.FindMoveAsync(vm, Cancel)).CopyWanted.ShouldBe("gone");
        await rows.ReportCopyAsync(vm, Power.Gone, Cancel);
        (await AddressesAsync(rows, vm)).ShouldBe(["rack2 10.77.0.2"]);
        (await CountersAsync(rows)).ShouldBe([0, 1]);
    }

    [Fact]
    public async Task A_vm_that_was_off_stays_off_and_is_charged_again_once_it_is_there()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.MoveAsync(vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        await rows.ArriveAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted).ShouldBe((VmRows.Target, "stopped", "off"));
        (await IsChargedAsync(rows, vm)).ShouldBeTrue();
        (await rows.FindMoveAsync(vm, Cancel)).CopyWanted.ShouldBe("gone");
    }

    [Theory]
    [InlineData("cancel")]
    [InlineData("force")]
    [InlineData("problem")]
    [InlineData("deadline")]
    public async Task An_end_before_the_switch_returns_it_to_what_it_was(string end)
    {
        var (rows, vm) = await BeginAsync();
        await using var _ = rows;
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await IsChargedAsync(rows, vm)).ShouldBeFalse();
        if (end is "cancel" or "force") await rows.AskAsync(vm, end, Cancel);
        if (end == "problem")
            await rows.ReportCopyAsync(vm, Power.Off, Cancel, r => (r.Problem, r.ProblemFinal) = ("It is full.", true));
        if (end == "deadline") rows.Time.Advance(TimeSpan.FromHours(3));
        await rows.SettleAsync(Cancel);
        var operation = await rows.NewestOperationAsync(vm, Cancel);
        operation.Status.ShouldBe(end == "cancel" ? "cancelled" : "failed");
        if (end == "problem") operation.Problem.ShouldBe("rack2: It is full.");
        var row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted).ShouldBe((VmRows.Host, "running", "on"));
        (await IsChargedAsync(rows, vm)).ShouldBeTrue();
        (await rows.FindMoveAsync(vm, Cancel)).CopyWanted.ShouldBe("gone");
        // What the target says late does not put the VM there.
        await rows.ArriveAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Host.ShouldBe(VmRows.Host);
        await rows.ReportCopyAsync(vm, Power.Gone, Cancel);
        (await AddressesAsync(rows, vm)).ShouldBe(["rack1 10.77.0.2"]);
        (await CountersAsync(rows)).ShouldBe([1, 0]);
    }

    [Fact]
    public async Task An_end_after_the_switch_goes_back_only_once_the_target_says_that_it_never_ran()
    {
        var (rows, vm) = await SwitchAsync();
        await using var _ = rows;
        await rows.AskAsync(vm, "cancel", Cancel);
        await rows.SettleAsync(Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.Wanted).ShouldBe((VmRows.Target, "off"));
        rows.Time.Advance(TimeSpan.FromHours(5));
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Host.ShouldBe(VmRows.Target, "the target is silent");
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted).ShouldBe((VmRows.Host, "running", "on"));
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("cancelled");
        (await rows.Db.FindAsync<int>("SELECT moves FROM vms WHERE id = @vm", new { vm }, Cancel)).ShouldBe(2);
        await rows.ReportCopyAsync(vm, Power.Gone, Cancel);
        (await AddressesAsync(rows, vm)).ShouldBe(["rack1 10.77.0.2"]);
    }

    [Fact]
    public async Task Once_it_ran_on_the_target_it_stays_there_whatever_is_asked()
    {
        var (rows, vm) = await SwitchAsync();
        await using var _ = rows;
        await rows.ReportAsync(vm, Power.On, Phase.Booting, Cancel, r => r.HasRun = true);
        await rows.SettleAsync(Cancel);
        await rows.AskAsync(vm, "cancel", Cancel);
        await rows.SettleAsync(Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted).ShouldBe((VmRows.Target, "running", "on"));
        (await rows.FindMoveAsync(vm, Cancel)).CopyWanted.ShouldBe("gone");
    }

    [Fact]
    public async Task A_forced_end_after_the_switch_keeps_the_copy_until_it_ran()
    {
        var (rows, vm) = await SwitchAsync();
        await using var _ = rows;
        await rows.ForceAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted).ShouldBe((VmRows.Target, "running", "on"));
        var reconciler = new Evacuation(rows.Db, rows.Fence, rows.Settings, rows.Time);
        await reconciler.LookAsync(rows.Epoch, Cancel);
        (await rows.FindMoveAsync(vm, Cancel)).CopyWanted.ShouldBe("off");
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await reconciler.LookAsync(rows.Epoch, Cancel);
        (await rows.FindMoveAsync(vm, Cancel)).CopyWanted.ShouldBe("gone");
    }

    [Fact]
    public async Task It_returns_to_the_kept_copy_when_the_host_is_lost_on_which_it_never_ran()
    {
        var (rows, vm) = await SwitchAsync();
        await using var _ = rows;
        await rows.ForceAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        await rows.Db.ExecuteAsync("UPDATE hosts SET online = FALSE WHERE id = 'rack2'", null, Cancel);
        (await RemoveHost.RunAsync(rows.Db, "ops", VmRows.Target, true, "burned down", rows.Time, Cancel)).OrThrow()
            .ShouldBe(0, "nothing is lost");
        var row = await rows.FindAsync(vm, Cancel);
        (row.Host, row.State, row.Wanted, row.Deleted).ShouldBe((VmRows.Host, "running", "on", null));
        (await AddressesAsync(rows, vm)).ShouldBe(["rack1 10.77.0.2"]);
        (await CountersAsync(rows)).ShouldBe([1, 0]);
        (await rows.Db.FindAsync<int>("SELECT moves FROM vms WHERE id = @vm", new { vm }, Cancel)).ShouldBe(2);
    }

    [Fact]
    public async Task A_silent_source_does_not_keep_the_disk_that_has_arrived_from_being_used()
    {
        var (rows, vm) = await BeginAsync();
        await using var _ = rows;
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromMinutes(1));
        await rows.Fence.InTransactionAsync(rows.Epoch,
            transaction => ForgetHost.RunAsync(transaction, VmRows.Host, rows.Now, Cancel), Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Host.ShouldBe(VmRows.Host, "nothing has arrived");
        await rows.ArriveAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).Host.ShouldBe(VmRows.Target);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
        (await CountersAsync(rows)).ShouldBe([1, 1], "its old copy is there until it returns");
        (await rows.MoveAsync(vm, Cancel, VmRows.Host)).Problem!.Message.ShouldContain("is offline");
    }

    [Fact]
    public async Task Reports_of_the_old_host_do_not_change_the_vm()
    {
        var (rows, vm) = await SwitchAsync();
        await using var _ = rows;
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.SettleAsync(Cancel);
        var before = await rows.FindAsync(vm, Cancel);
        await rows.TakeInAsync(Intake(rows, vm, Power.Gone, 99), Cancel, VmRows.Host);
        await rows.TakeInCopyAsync(Intake(rows, vm, Power.Off, 1), VmRows.Host, Cancel);
        (await rows.FindAsync(vm, Cancel)).ShouldBe(before);
    }

    static VmObservation Intake(VmRows rows, string vm, Power power, long generation) => Capsul.Hub.Link.Intake.Check(
        new VmReport { Id = vm, Power = power, Epoch = rows.Epoch, Generation = generation });

    [Fact]
    public async Task Another_address_is_taken_when_its_own_is_not_free_there()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.Db.ExecuteAsync(
            "DELETE FROM addresses WHERE host = @host AND address = '10.77.0.2'", new { host = VmRows.Target }, Cancel);
        (await rows.MoveAsync(vm, Cancel)).OrThrow();
        (await AddressesAsync(rows, vm)).ShouldBe(["rack1 10.77.0.2", "rack2 10.77.0.3"]);
        (await rows.FindAsync(vm, Cancel)).Address.ShouldBe("10.77.0.2");
    }

    [Theory]
    [InlineData("online = FALSE", "rack2 is offline.")]
    [InlineData("accepts = FALSE", "rack2 is drained.")]
    [InlineData("moves_disks = FALSE", "too old to move disks")]
    [InlineData("memory_mb = 100", "of memory free; the capsul needs 512 MiB")]
    [InlineData("disk_free_mb = 100", "The disk of rack2 is nearly full.")]
    [InlineData("disk_mb = 1024", "GiB of disk free; the capsul needs 25 GiB.")]
    [InlineData("max_vms = vms, vms = vms + 1, max_vms = 1", "All ports for SSH of rack2 are in use.")]
    public async Task Refusals_name_what_is_short(string change, string says)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        change = change.StartsWith("max_vms", StringComparison.Ordinal) ? "max_vms = 1, vms = 1" : change;
        await rows.Db.ExecuteAsync($"UPDATE hosts SET {change} WHERE id = 'rack2'", null, Cancel);
        var refused = (await rows.MoveAsync(vm, Cancel, VmRows.Target)).Problem!;
        (refused.Kind, refused.Field).ShouldBe((ProblemKind.NoCapacity, "To"));
        refused.Message.ShouldContain(says);
        (await rows.MoveAsync(vm, Cancel)).Problem!.Message.ShouldStartWith("No other host");
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
    }

    [Fact]
    public async Task It_is_not_moved_while_something_else_is_going_on_or_its_host_is_silent()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        var vm = await rows.NewVmAsync(Cancel);
        (await rows.MoveAsync(vm, Cancel)).Problem!.Message.ShouldContain("still running");
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.MoveAsync(vm, Cancel, VmRows.Host)).Problem!.Message.ShouldContain("already");
        (await rows.MoveAsync(vm, Cancel, "nowhere")).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        await rows.Db.ExecuteAsync("INSERT INTO rebuilds (started) VALUES (now())", null, Cancel);
        (await rows.MoveAsync(vm, Cancel)).Problem!.Message.ShouldContain("being rebuilt");
        await rows.Db.ExecuteAsync("DELETE FROM rebuilds; UPDATE hosts SET online = id <> 'rack1'", null, Cancel);
        (await rows.MoveAsync(vm, Cancel)).Problem!.Message.ShouldBe("rack1 is offline, and the disk is there.");
    }

    [Fact]
    public async Task Its_owner_can_neither_cancel_it_nor_do_anything_else_meanwhile()
    {
        var (rows, vm) = await BeginAsync();
        await using var _ = rows;
        (await rows.CancelAsync(vm, Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        foreach (var action in VmActions.All)
            (await rows.ChangeAsync(action, vm, Cancel)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
    }

    [Fact]
    public async Task A_host_is_not_removed_while_something_moves_and_forgets_its_copies_when_it_is()
    {
        var (rows, vm) = await BeginAsync();
        await using var _ = rows;
        (await RemoveHost.RunAsync(rows.Db, "ops", VmRows.Target, false, "", rows.Time, Cancel)).Problem!.Message
            .ShouldContain("1 capsul is being moved from or to rack2");
        await rows.AskAsync(vm, "cancel", Cancel);
        await rows.SettleAsync(Cancel);
        (await RemoveHost.RunAsync(rows.Db, "ops", VmRows.Target, false, "", rows.Time, Cancel)).OrThrow();
        (await rows.FindMoveAsync(vm, Cancel)).CopyHost.ShouldBeNull();
        (await AddressesAsync(rows, vm)).ShouldBe(["rack1 10.77.0.2"]);
    }
}
