using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Link;
using Capsul.Tests.Support;
using Capsul.Wire;
using Grpc.Core;
using Npgsql;

namespace Capsul.Tests.Features.Vms;

/// <summary>Rescues: what is refused meanwhile, what stays, and what a failure leaves.</summary>
public sealed class RescueVmTests
{
    const string OwnKey = "AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g",
        RescueKey = "AAAAC3NzaC1lZDI1NTE5AAAAICACAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly RescueHostRow Able = new(true, true, false, VmRows.ImageSha256, "capsul", 128);

    static async Task<RescueVm.Facts> FactsAsync(VmRows rows) =>
        new(await rows.FindAsync(await rows.RunningVmAsync(Cancel), Cancel), IsBusy: false, Able, Keys: 1);

    [Fact]
    public async Task Refuses_in_words()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var facts = await FactsAsync(rows);
        string? Say(RescueVm.Facts changed) => RescueVm.Decide(changed)?.Message;
        Say(facts).ShouldBeNull();
        Say(facts with { Vm = facts.Vm! with { State = "stopped" } }).ShouldBeNull();
        RescueVm.Decide(facts with { Vm = null }).ShouldBe(VmAction.NotFound);
        RescueVm.Decide(facts with { Vm = facts.Vm! with { Deleted = default(DateTime) } }).ShouldBe(VmAction.NotFound);
        RescueVm.Decide(facts with { Vm = facts.Vm! with { InRescue = true } }).ShouldBe(RescueVm.InRescue);
        Say(facts with { IsBusy = true })!.ShouldStartWith("Something else is still being done");
        Say(facts with { Vm = facts.Vm! with { State = "creating" } })
            .ShouldBe("This capsul is creating. Only a running or stopped capsul can be rescued.");
        Say(facts with { Host = Able with { Online = false } })!.ShouldContain("is offline");
        Say(facts with { Host = Able with { Rescues = false } }).ShouldBe(
            "The software of host rack1 is too old to rescue capsuls. Ask the operators to upgrade it.");
        Say(facts with { Host = Able with { ImageSha256 = null } })!.ShouldContain("has no rescue system");
        Say(facts with { Host = Able with { MinMemoryMb = 1024 } })!.ShouldContain("needs 1 GiB of memory");
        Say(facts with { Keys = 0 })!.ShouldContain("no SSH key");
        EndRescue.Decide(facts.Vm, isBusy: false)!.Message.ShouldBe("This capsul is not in rescue.");
    }

    [Fact]
    public async Task Another_accounts_vm_is_not_found()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RescuedVmAsync(Cancel);
        const string stranger = "eve@example.org";
        (await rows.RescueAsync(vm, Cancel, stranger)).Problem.ShouldBe(VmAction.NotFound);
        (await rows.EndRescueAsync(vm, Cancel, stranger)).Problem.ShouldBe(VmAction.NotFound);
        (await rows.FindAsync(vm, Cancel)).InRescue.ShouldBeTrue();
        (await rows.EndRescueAsync(vm, Cancel, email: null)).OrThrow();
    }

    [Fact]
    public async Task It_goes_to_rescue_and_back_and_is_what_it_was()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => AddKey(r, OwnKey));
        var before = await rows.FindAsync(vm, Cancel);
        var spans = await rows.CountAsync("usage_spans", "TRUE", Cancel);
        (await rows.RescueAsync(vm, Cancel)).OrThrow();
        var number = rows.Time.GetUtcNow().ToUnixTimeSeconds();
        (await WantedAsync(rows, vm)).ShouldSatisfyAllConditions(
            w => w.Rescue.ShouldBe(number), w => w.RescueImage.ShouldBe("tiny"), w => w.Disk.ShouldBe(0),
            w => w.RescueImageSha256.ShouldBe(VmRows.ImageSha256), w => w.RescueKeys.ShouldBe("ssh-ed25519 AAAA"),
            w => w.Wanted.ShouldBe("on"), w => w.HasRun.ShouldBeTrue());
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => AddKey(r, OwnKey));
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running", "that was its own system");
        await rows.CarryRescueAsync(vm, Cancel, r => AddKey(r, RescueKey));
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).ShouldSatisfyAllConditions(
            v => v.State.ShouldBe("running"), v => v.InRescue.ShouldBeTrue(), v => v.ObservedRescue.ShouldBe(number),
            v => VmState.Of(v).Word.ShouldBe("in rescue"));
        (await rows.FindRescueAsync(vm, Cancel))!.HostKeys.ShouldStartWith($"ssh-ed25519 {RescueKey} SHA256:");
        (await OwnKeysAsync(rows)).ShouldBe([OwnKey], "those are of its own system");

        rows.Time.Advance(TimeSpan.FromMinutes(5));
        (await rows.EndRescueAsync(vm, Cancel)).OrThrow();
        (await WantedAsync(rows, vm)).Rescue.ShouldBeNull();
        await rows.ReportAsync(vm, Power.On, Phase.Ready, Cancel, r => r.Rescue = number);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running", "that was the rescue system");
        await rows.CarryRescueAsync(vm, Cancel, r => AddKey(r, OwnKey));
        await rows.SettleAsync(Cancel);
        var after = await rows.FindAsync(vm, Cancel);
        after.ShouldBe(before with
        {
            WantedGeneration = after.WantedGeneration,
            ObservedGeneration = after.WantedGeneration,
            ObservedAt = after.ObservedAt,
        });
        (await OwnKeysAsync(rows)).ShouldBe([OwnKey]);
        (await rows.CountAsync("usage_spans", "TRUE", Cancel)).ShouldBe(spans, "it was charged as before");
        (await rows.CountAsync("rescues", $"number = {number} AND ended > began AND actor = 'test'", Cancel))
            .ShouldBe(1);
        (await rows.CountAsync("audit_lines", "action IN ('rescue_vm', 'end_rescue')", Cancel)).ShouldBe(2);
    }

    [Fact]
    public async Task Meanwhile_it_can_be_stopped_started_and_deleted_and_nothing_else()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        var vm = await rows.RescuedVmAsync(Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (await rows.RescueAsync(vm, Cancel)).Problem.ShouldBe(RescueVm.InRescue);
        (await rows.ReinstallAsync(vm, Cancel)).Problem.ShouldBe(RescueVm.InRescue);
        (await rows.MoveAsync(vm, Cancel)).Problem.ShouldBe(RescueVm.InRescue);
        ChangeKeys.Decide(row, 1, 1).ShouldBe(RescueVm.InRescue);
        foreach (var (action, power) in ((VmAction, Power)[])[(VmActions.Stop, Power.Off),
            (VmActions.Start, Power.On), (VmActions.Restart, Power.On)])
        {
            (await rows.ChangeAsync(action, vm, Cancel)).OrThrow();
            (await WantedAsync(rows, vm)).Rescue.ShouldBe(row.ObservedRescue);
            if (power == Power.On) await rows.CarryRescueAsync(vm, Cancel);
            else await rows.ReportAsync(vm, power, Phase.None, Cancel);
            await rows.SettleAsync(Cancel);
            (await rows.FindAsync(vm, Cancel)).ShouldSatisfyAllConditions(
                v => v.State.ShouldBe(action.End), v => v.InRescue.ShouldBeTrue());
        }
        (await rows.ChangeAsync(VmActions.Delete, vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.CountAsync("rescues", "ended IS NULL", Cancel)).ShouldBe(0);
    }

    [Fact]
    public async Task A_rescue_that_was_stopped_can_be_ended_and_is_stopped_again_if_that_fails()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RescuedVmAsync(Cancel);
        (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.EndRescueAsync(vm, Cancel)).OrThrow();
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).ShouldSatisfyAllConditions(
            v => v.State.ShouldBe("stopped"), v => v.Wanted.ShouldBe("off"), v => v.InRescue.ShouldBeTrue());
        (await rows.EndRescueAsync(vm, Cancel)).OrThrow();
        await rows.CarryRescueAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).ShouldSatisfyAllConditions(
            v => v.State.ShouldBe("running"), v => v.InRescue.ShouldBeFalse());
    }

    [Fact]
    public async Task Its_own_system_need_not_respond_but_the_rescue_system_must()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.RescueAsync(vm, Cancel)).OrThrow();
        var number = (await rows.FindRescueAsync(vm, Cancel))!.Number;
        await rows.ReportAsync(vm, Power.On, Phase.Booting, Cancel, r => r.Rescue = number);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Problem
            .ShouldStartWith("SSH of the rescue system did not respond");
        (await rows.FindAsync(vm, Cancel)).InRescue.ShouldBeFalse();
        (await WantedAsync(rows, vm)).Rescue.ShouldBeNull();
        // A database that was restored, or a clock that goes back: the Spoke has seen that number.
        (await rows.RescueAsync(vm, Cancel)).OrThrow();
        (await rows.FindRescueAsync(vm, Cancel))!.Number.ShouldBeGreaterThan(number);
        await rows.CarryRescueAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);

        (await rows.EndRescueAsync(vm, Cancel)).OrThrow();
        await rows.ReportAsync(vm, Power.On, Phase.Booting, Cancel);
        rows.Time.Advance(TimeSpan.FromHours(1));
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
        (await rows.FindAsync(vm, Cancel)).ShouldSatisfyAllConditions(
            v => v.State.ShouldBe("running"), v => v.InRescue.ShouldBeFalse());
    }

    [Fact]
    public async Task An_operation_that_was_lost_is_done_again()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        foreach (var kind in (string[])[RescueVm.OperationName, EndRescue.OperationName])
        {
            (kind == EndRescue.OperationName
                ? await rows.EndRescueAsync(vm, Cancel) : await rows.RescueAsync(vm, Cancel)).OrThrow();
            await rows.Db.ExecuteAsync(
                "DELETE FROM operation_events; DELETE FROM operations", null, Cancel);
            await rows.Fence.InTransactionAsync(rows.Epoch, transaction => RepairVm.StartLostAsync(
                transaction, null, rows.Settings, rows.Time, Cancel), Cancel);
            (await rows.NewestOperationAsync(vm, Cancel)).Kind.ShouldBe(kind);
            await rows.CarryRescueAsync(vm, Cancel);
            await rows.SettleAsync(Cancel);
            (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
        }
        (await rows.FindAsync(vm, Cancel)).InRescue.ShouldBeFalse();
    }

    [Fact]
    public async Task The_database_itself_refuses_two_rescues_of_one_vm_and_one_without_keys()
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var vm = await rows.RescuedVmAsync(Cancel);
        const string again = "INSERT INTO rescues "
            + "(vm, number, actor, began, was, image, image_sha256, login_user, keys) "
            + "SELECT vm, number + 1, actor, began, was, image, image_sha256, login_user, @keys FROM rescues";
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(again, new { keys = "k" }, Cancel)))
            .ConstraintName.ShouldBe("rescues_one_at_a_time");
        await rows.Db.ExecuteAsync("UPDATE rescues SET ended = began WHERE vm = @vm", new { vm }, Cancel);
        (await Should.ThrowAsync<PostgresException>(() => rows.Db.ExecuteAsync(again, new { keys = "" }, Cancel)))
            .ConstraintName.ShouldBe("rescues_keys_check");
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(long.MaxValue)]
    public void A_number_that_is_out_of_range_ends_the_connection(long rescue) =>
        Should.Throw<RpcException>(() => Intake.Check(new VmReport { Id = "capsul-0123456789", Rescue = rescue }))
            .Status.Detail.ShouldContain("out of range");

    static void AddKey(VmReport report, string key) =>
        report.HostKeys.Add(new SshHostKey { Type = "ssh-ed25519", Key = key });

    static Task<IReadOnlyList<string>> OwnKeysAsync(VmRows rows) =>
        rows.Db.ListAsync<string>("SELECT key FROM vm_ssh_host_keys", null, Cancel);

    static async Task<WantedRow> WantedAsync(VmRows rows, string vm) => (await rows.Db.ListAsync<WantedRow>(
        HostSql.Wanted, new { host = VmRows.Host, since = -1L }, Cancel)).Single(w => w.Id == vm);
}
