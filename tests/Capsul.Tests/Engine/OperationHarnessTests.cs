using Capsul.Hub.Database;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Engine;

/// <summary>What every kind of operation must stand: each step run twice, a failure at each step, undo twice, a crash between any two steps.</summary>
public sealed class OperationHarnessTests
{
    static readonly CancellationToken Cancel = TestContext.Current.CancellationToken;

    public static TheoryData<string> Kinds => [.. VmRows.AllKinds().Select(k => k.Name)];

    /// <summary>Starts an operation of a kind on a VM that is ready for it, and gives the VM's id and what the Spoke says when it is done.</summary>
    static async Task<(string Vm, Power Power, Phase Phase)> BeginAsync(VmRows rows, string kind)
    {
        if (kind == CreateVm.OperationName) return (await rows.NewVmAsync(Cancel), Power.On, Phase.Ready);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromMinutes(10));
        var action = VmActions.All.Single(a => a.Operation == kind);
        if (action.From[0] == VmActions.Stop.End)
        {
            (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).OrThrow();
            await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
            await rows.SettleAsync(Cancel);
        }
        (await rows.ChangeAsync(action, vm, Cancel)).OrThrow();
        return action.Wanted switch
        {
            "on" => (vm, Power.On, Phase.Ready),
            "off" => (vm, Power.Off, Phase.None),
            _ => (vm, Power.Gone, Phase.None),
        };
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task Ends_as_done_when_the_spoke_does_its_part(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, power, phase) = await BeginAsync(rows, kind);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running");
        await rows.ReportAsync(vm, power, phase, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe(VmActions.All.FirstOrDefault(a => a.Operation == kind)?.End ?? "running");
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task Runs_each_step_twice_without_a_difference(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, power, phase) = await BeginAsync(rows, kind);
        for (var report = 0; report < 2; report++)
        {
            for (var again = 0; again < 2; again++)
            {
                await rows.Db.ExecuteAsync(OperationSql.Wake, new { vm, now = rows.Now }, Cancel);
                await rows.SettleAsync(Cancel);
            }
            await rows.ReportAsync(vm, power, phase, Cancel);
        }
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
        (await rows.CountAsync("usage_spans", $"vm = '{vm}'", Cancel)).ShouldBe(1);
        (await rows.CountAsync("operation_events", $"message = 'Running' AND operation = (SELECT max(id) FROM operations WHERE vm = '{vm}')", Cancel)).ShouldBeLessThanOrEqualTo(1);
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task A_failure_at_any_step_leaves_a_clean_slate(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var steps = VmRows.AllKinds().Single(k => k.Name == kind).Steps;
        foreach (var (step, _) in steps)
        {
            var (vm, _, _) = await BeginAsync(rows, kind);
            var before = await rows.FindAsync(vm, Cancel);
            await rows.Db.ExecuteAsync("UPDATE operations SET step = @step WHERE vm = @vm AND finished IS NULL", new { step, vm }, Cancel);
            await rows.ReportAsync(vm, before.Observed == "on" ? Power.On : Power.Off, Phase.None, Cancel, r => (r.Problem, r.ProblemFinal) = ("The disk of the host is full.", true));
            await rows.SettleAsync(Cancel);
            if (kind == CreateVm.OperationName || kind == VmActions.Delete.Operation)
            {
                await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
                await rows.SettleAsync(Cancel);
                (await rows.CountAsync("addresses", "vm IS NOT NULL", Cancel)).ShouldBe(0);
            }
            var operation = await rows.NewestOperationAsync(vm, Cancel);
            operation.Finished.ShouldNotBeNull();
            (await rows.FindAsync(vm, Cancel)).State.ShouldBeOneOf("running", "stopped", "failed", "deleted");
            if (kind == CreateVm.OperationName)
            {
                operation.Problem.ShouldBe("The disk of the host is full.");
                (await rows.CountAsync("usage_spans", $"vm = '{vm}'", Cancel)).ShouldBe(0);
            }
            await rows.Db.ExecuteAsync("UPDATE vms SET deleted = @now, state = 'failed', wanted = 'gone' WHERE deleted IS NULL; UPDATE addresses SET vm = NULL", new { now = rows.Now }, Cancel);
        }
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task Undo_can_run_twice(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, _, _) = await BeginAsync(rows, kind);
        var operationKind = VmRows.AllKinds().Single(k => k.Name == kind);
        for (var n = 0; n < 2; n++)
        {
            await rows.Db.InTransactionAsync(async transaction =>
            {
                var operation = (await transaction.FindAsync<OperationRow>(OperationSql.Newest, new { vm }, Cancel))!;
                var row = (await transaction.FindAsync<VmRow>(VmSql.LockAny, new { id = vm }, Cancel))!;
                return await operationKind.UndoAsync(new StepContext(operation, row, transaction, rows.Now), Cancel);
            }, Cancel);
        }
        (await rows.FindAsync(vm, Cancel)).Wanted.ShouldBe(kind switch
        {
            CreateVm.OperationName => "gone",
            _ when VmActions.All.Single(a => a.Operation == kind) is { Wanted: not "gone" } action => VmActions.WantedIn(action.From[0]),
            _ => "gone",
        });
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task A_hub_that_dies_between_two_steps_is_followed_by_one_that_goes_on(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, power, phase) = await BeginAsync(rows, kind);
        for (var n = 0; n < 10; n++)
        {
            // One step, then another Hub has the seat; the old one may not write a step any more.
            var old = rows.Epoch;
            await rows.Runner.RunOneAsync(rows.Epoch, Cancel);
            await rows.TakeSeatAsync(Cancel);
            await Should.ThrowAsync<SeatLostException>(() => rows.Runner.RunOneAsync(old, Cancel));
            if (n == 3) await rows.ReportAsync(vm, power, phase, Cancel);
        }
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task An_operator_can_force_an_end(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, _, _) = await BeginAsync(rows, kind);
        var operation = await rows.NewestOperationAsync(vm, Cancel);
        await rows.Db.ExecuteAsync(OperationSql.Ask, new { id = operation.Id, asked = "force", now = rows.Now }, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("failed");
        (await rows.FindAsync(vm, Cancel)).State.ShouldBeOneOf("running", "stopped", "failed", "deleted");
    }
}
