using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Waits until the VM runs from its own disk again. If it cannot, it stays in rescue, and its owner can try again.
/// </summary>
public sealed class EndRescueOperation : VmOperation
{
    public const string Boot = "boot";

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => EndRescue.OperationName;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(Boot, "Shutting down and starting from its own disk")];

    protected override async Task<Next> RunAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (vm.ProblemFinal) return new Next.Fail(new Problem(ProblemKind.Unavailable, vm.Problem));
        if (!RunsItself(vm) || !vm.Ready || vm.Paused) return new Next.Wait(LookAgain);
        return await FinishAsync(step, "Running from its own disk", cancel);
    }

    static bool RunsItself(VmRow vm) => vm.Answered && vm.Observed == "on" && vm.ObservedRescue == 0;

    static async Task<Next> FinishAsync(VmStep step, string message, CancellationToken cancel)
    {
        var id = step.Vm.Id;
        await step.Transaction.ExecuteAsync(VmSql.SetState, new { id, state = "running" }, cancel);
        await step.Transaction.ExecuteAsync(RescueSql.End, new { vm = id, now = step.Now }, cancel);
        return new Next.Done(message);
    }

    /// <summary>What was broken may be so still: its owner decides whether to rescue it again.</summary>
    protected override async Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (RunsItself(vm))
            return await FinishAsync(step, "Running from its own disk, but SSH does not respond", cancel);
        var why = vm.Problem.Length > 0 ? vm.Problem : $"Timed out: host {vm.Host} did not do it in time.";
        return new Next.Fail(new Problem(ProblemKind.Unavailable, why));
    }

    protected override async Task<Next> UndoAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        var rescue = await step.Transaction.FindAsync<RescueRow>(RescueSql.Find, new { vm = vm.Id }, cancel);
        var was = rescue?.Was ?? "running";
        await step.Transaction.ExecuteAsync(RescueSql.Keep, new { vm = vm.Id }, cancel);
        await step.Transaction.WantAsync(vm, was, VmActions.WantedIn(was), cancel);
        return new Next.Done("Still in rescue");
    }

    /// <summary>The host is told when it is back.</summary>
    protected override Task ForceAsync(VmStep step, CancellationToken cancel) => UndoAsync(step, cancel);
}
