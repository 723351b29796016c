using Capsul.Hub.Engine;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Capsul.Wire;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Engine;

/// <summary>
/// What every kind of operation must survive: each step running twice, a failure at each step, a step that throws, undo
/// running twice, a crash between any two steps. The result is asserted in full: state, wanted state, restarts, grace
/// period, address, usage.
/// </summary>
public sealed partial class OperationHarnessTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Kinds => [.. VmRows.AllKinds().Select(k => k.Name)];

    static VmAction? ActionOf(string kind) => VmActions.All.SingleOrDefault(a => a.Operation == kind);

    /// <summary>
    /// Starts an operation of a kind on a VM in a suitable state, and returns the VM's ID and the Spoke's report of
    /// success.
    /// </summary>
    static async Task<(string Vm, Power Power, Phase Phase)> BeginAsync(VmRows rows, string kind)
    {
        if (kind == AdoptVm.OperationName) return (await rows.AdoptAsync(Cancel), Power.On, Phase.Ready);
        if (kind == MoveVm.OperationName)
        {
            await rows.AddTargetAsync(Cancel);
            var moved = await rows.RunningVmAsync(Cancel);
            rows.Time.Advance(TimeSpan.FromMinutes(10));
            (await rows.MoveAsync(moved, Cancel)).OrThrow();
            return (moved, Power.On, Phase.Ready);
        }
        if (kind == ReinstallVm.OperationName)
        {
            var old = await rows.RunningVmAsync(Cancel);
            rows.Time.Advance(TimeSpan.FromMinutes(10));
            (await rows.ReinstallAsync(old, Cancel)).OrThrow();
            return (old, Power.On, Phase.Ready);
        }
        if (kind is RescueVm.OperationName or EndRescue.OperationName)
        {
            var ill = kind == EndRescue.OperationName
                ? await rows.RescuedVmAsync(Cancel) : await rows.RunningVmAsync(Cancel);
            rows.Time.Advance(TimeSpan.FromMinutes(10));
            (kind == EndRescue.OperationName
                ? await rows.EndRescueAsync(ill, Cancel) : await rows.RescueAsync(ill, Cancel)).OrThrow();
            return (ill, Power.On, Phase.Ready);
        }
        if (ActionOf(kind) is not { } action) return (await rows.NewVmAsync(Cancel), Power.On, Phase.Ready);
        var vm = await rows.RunningVmAsync(Cancel);
        rows.Time.Advance(TimeSpan.FromMinutes(10));
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

    /// <summary>The Spokes do all that is wanted of them.</summary>
    static async Task SucceedAsync(VmRows rows, string kind, string vm, Power power, Phase phase)
    {
        if (kind == MoveVm.OperationName
            && (await rows.NewestOperationAsync(vm, Cancel)).Status == "running") await rows.CarryMoveAsync(vm, Cancel);
        else if (kind == ReinstallVm.OperationName) await rows.CarryReinstallAsync(vm, Cancel);
        else if (kind is RescueVm.OperationName or EndRescue.OperationName) await rows.CarryRescueAsync(vm, Cancel);
        else if (kind != MoveVm.OperationName) await rows.ReportAsync(vm, power, phase, Cancel);
    }

    /// <summary>Everything about a VM that an operation may change permanently.</summary>
    sealed record Promise(string State, string Wanted, bool HasAddress, bool IsCharged, bool HasNewDisk = false,
        bool InRescue = false);

    static async Task<Promise> LookAsync(VmRows rows, string vm)
    {
        var row = await rows.FindAsync(vm, Cancel);
        var isCharged = await rows.CountAsync("usage_spans", $"vm = '{vm}' AND upper_inf(span)", Cancel);
        (await rows.CountAsync("reinstalls", $"vm = '{vm}'", Cancel)).ShouldBe(0, "nothing is left of a reinstall");
        (await rows.FindRescueAsync(vm, Cancel))?.Ending.ShouldBeFalse("no rescue is between two states");
        return new Promise(row.State, row.Wanted, row.Address is not null, isCharged == 1, row.Disk > 0, row.InRescue);
    }

    static Promise WhenDone(string kind) => ActionOf(kind)?.End switch
    {
        null or "running" => new("running", "on", true, true, kind == ReinstallVm.OperationName,
            kind == RescueVm.OperationName),
        "stopped" => new("stopped", "off", true, true),
        _ => new("deleted", "gone", false, false),
    };

    /// <summary>
    /// A failed operation restores the previous state; a failed create leaves nothing; a delete continues until it is
    /// done.
    /// </summary>
    static Promise WhenFailed(string kind) => ActionOf(kind) switch
    {
        null when kind is MoveVm.OperationName or ReinstallVm.OperationName or RescueVm.OperationName =>
            new("running", "on", true, true),
        null when kind is EndRescue.OperationName => new("running", "on", true, true, InRescue: true),
        null => new("failed", "gone", false, false),
        { Wanted: "gone" } => new("deleted", "gone", false, false),
        var action => new(action.From[0], VmActions.WantedIn(action.From[0]), true, true),
    };

    static async Task EndAsync(VmRows rows, string vm, string kind)
    {
        await rows.SettleAsync(Cancel);
        if (WhenFailed(kind).Wanted == "gone") await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task Completes_when_the_spoke_does_its_part(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, power, phase) = await BeginAsync(rows, kind);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running");
        await SucceedAsync(rows, kind, vm, power, phase);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
        (await LookAsync(rows, vm)).ShouldBe(WhenDone(kind));
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task Running_each_step_twice_makes_no_difference(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, power, phase) = await BeginAsync(rows, kind);
        for (var report = 0; report < 2; report++)
        {
            for (var again = 0; again < 2; again++)
            {
                await rows.WakeAsync(vm, Cancel);
                await rows.SettleAsync(Cancel);
            }
            await SucceedAsync(rows, kind, vm, power, phase);
        }
        await rows.SettleAsync(Cancel);
        var operation = await rows.NewestOperationAsync(vm, Cancel);
        operation.Status.ShouldBe("done");
        (await rows.CountAsync("usage_spans", $"vm = '{vm}'", Cancel))
            .ShouldBe(kind == MoveVm.OperationName ? 2 : 1, "the time of a move is not charged");
        var lines = await rows.Db.ListAsync<OperationEventRow>(OperationSql.Events, new { id = operation.Id }, Cancel);
        lines.Select(l => l.Message).ShouldBeUnique();
        (await LookAsync(rows, vm)).ShouldBe(WhenDone(kind));
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task A_failure_at_any_step_leaves_a_clean_slate(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        foreach (var (step, _) in VmRows.AllKinds().Single(k => k.Name == kind).Steps)
        {
            var (vm, _, _) = await BeginAsync(rows, kind);
            var before = await rows.FindAsync(vm, Cancel);
            await rows.SetStepAsync(vm, step, Cancel);
            await rows.ReportAsync(vm, before.Observed == "on" ? Power.On : Power.Off, Phase.None, Cancel,
                r => (r.Problem, r.ProblemFinal, r.Restarts) =
                    ("The disk of the host is full.", true, before.ObservedRestarts));
            await EndAsync(rows, vm, kind);
            var operation = await rows.NewestOperationAsync(vm, Cancel);
            operation.Finished.ShouldNotBeNull();
            if (ActionOf(kind)?.Wanted != "gone") operation.Problem.ShouldBe("The disk of the host is full.");
            (await LookAsync(rows, vm)).ShouldBe(WhenFailed(kind));
            (await rows.FindAsync(vm, Cancel))
                .Restarts.ShouldBe(before.ObservedRestarts, "a restart that did not happen is no longer wanted");
            await rows.RemoveAllAsync(Cancel);
        }
    }

    /// <summary>A kind in which one step throws like a bug: not a problem, not a refusal.</summary>
    sealed class Throwing(OperationKind inner, string step) : OperationKind
    {
        public override string Name => inner.Name;
        public override IReadOnlyList<(string Name, string Title)> Steps => inner.Steps;
        public override bool GoesOn => inner.GoesOn;
        public bool Broken { get; set; } = true;

        public override Task<Next> RunAsync(StepContext context, CancellationToken cancel) =>
            Broken && context.Operation.Step == step
                ? throw new InvalidOperationException("a bug in the step") : inner.RunAsync(context, cancel);

        public override Task<Next> UndoAsync(StepContext context, CancellationToken cancel) =>
            inner.UndoAsync(context, cancel);
        public override Task<Next> OverdueAsync(StepContext context, CancellationToken cancel) =>
            inner.OverdueAsync(context, cancel);
        public override Task ForceAsync(StepContext context, CancellationToken cancel) =>
            inner.ForceAsync(context, cancel);
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task A_step_that_throws_is_retried_and_rolled_back_at_its_deadline(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        foreach (var (step, _) in VmRows.AllKinds().Single(k => k.Name == kind).Steps)
        {
            var (vm, power, phase) = await BeginAsync(rows, kind);
            var (runner, broken) = MakeRunner(rows, kind, step);
            await rows.SetStepAsync(vm, step, Cancel);
            var operation = await rows.NewestOperationAsync(vm, Cancel);
            await SettleAsync(rows, runner);
            (await rows.NewestOperationAsync(vm, Cancel)).ShouldSatisfyAllConditions(
                o => o.Attempt.ShouldBeGreaterThan(0), o => o.Status.ShouldBe("running"),
                o => o.RunAt.ShouldBeLessThanOrEqualTo(o.DeadlineAt));
            rows.Time.Advance(operation.DeadlineAt - rows.Now);
            await SettleAsync(rows, runner);
            if (broken.GoesOn)
            {
                (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("running");
                broken.Broken = false;
                rows.Time.Advance(TimeSpan.FromMinutes(2));
                await SucceedAsync(rows, kind, vm, power, phase);
            }
            await EndAsync(rows, vm, kind);
            (await rows.NewestOperationAsync(vm, Cancel)).Finished.ShouldNotBeNull();
            (await LookAsync(rows, vm)).ShouldBe(WhenFailed(kind));
            await rows.RemoveAllAsync(Cancel);
        }
    }

    static (Runner Runner, Throwing Kind) MakeRunner(VmRows rows, string kind, string step)
    {
        var broken = new Throwing(VmRows.AllKinds().Single(k => k.Name == kind), step);
        OperationKind[] kinds = [broken, .. VmRows.AllKinds().Where(k => k.Name != kind)];
        var listener = new Listener(rows.Db, rows.Time, NullLogger<Listener>.Instance);
        return (new Runner(rows.Db, rows.Fence, listener, kinds, rows.Time, NullLogger<Runner>.Instance), broken);
    }

    static async Task SettleAsync(VmRows rows, Runner runner)
    {
        for (var n = 0; await runner.RunOneAsync(rows.Epoch, Cancel); n++)
            n.ShouldBeLessThan(50, "a step that throws waits before it is retried");
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
                return await operationKind.UndoAsync(new StepContext(operation, transaction, rows.Now), Cancel);
            }, Cancel);
        }
        (await rows.FindAsync(vm, Cancel)).Wanted.ShouldBe(WhenFailed(kind).Wanted);
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task After_a_hub_crash_between_two_steps_the_next_one_continues(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, power, phase) = await BeginAsync(rows, kind);
        for (var n = 0; n < 10; n++)
        {
            // After one step another Hub acquires the seat; the old one may no longer write.
            var old = rows.Epoch;
            await rows.Runner.RunOneAsync(rows.Epoch, Cancel);
            await rows.TakeSeatAsync(Cancel);
            await Should.ThrowAsync<SeatLostException>(() => rows.Runner.RunOneAsync(old, Cancel));
            if (n == 3) await SucceedAsync(rows, kind, vm, power, phase);
        }
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("done");
        (await LookAsync(rows, vm)).ShouldBe(WhenDone(kind));
    }

    [Theory, MemberData(nameof(Kinds))]
    public async Task An_operator_can_force_an_end(string kind)
    {
        await using var rows = await VmRows.CreateAsync(Cancel);
        var (vm, _, _) = await BeginAsync(rows, kind);
        await rows.ForceAsync(vm, Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.NewestOperationAsync(vm, Cancel)).Status.ShouldBe("failed");
        // The host was not involved: the address stays reserved until it reports that the VM is gone.
        (await LookAsync(rows, vm)).ShouldBe(WhenFailed(kind) with { HasAddress = true });
        if (WhenFailed(kind).Wanted != "gone") return;
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        (await LookAsync(rows, vm)).ShouldBe(WhenFailed(kind));
    }
}
