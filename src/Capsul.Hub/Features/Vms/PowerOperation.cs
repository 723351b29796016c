using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Start, stop and restart: one step that waits for the power that was asked for. When it does not come, the order is
/// taken back, so that the VM is again what it was, and its owner can ask again.
/// </summary>
public abstract class PowerOperation(VmAction action) : VmOperation
{
    public const string Power = "power";

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => action.Operation;

    public override IReadOnlyList<(string Name, string Title)> Steps => [(Power, action.Says.Present)];

    protected override async Task<Next> RunAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (vm.ProblemFinal)
            return new Next.Fail(new Problem(ProblemKind.Unavailable, vm.Problem));
        if (!IsPowered(vm) || (action.Wanted == "on" && !vm.Ready))
            return new Next.Wait(LookAgain);
        await step.Transaction.ExecuteAsync(VmSql.SetState, new { id = vm.Id, state = action.End }, cancel);
        return new Next.Done(action.Says.Done);
    }

    /// <summary>The Spoke has answered, and says that it is done.</summary>
    bool IsPowered(VmRow vm) => vm.Answered && vm.Observed == action.Wanted && vm.ObservedRestarts >= vm.Restarts;

    /// <summary>
    /// A restart that the Spoke has not carried out is no longer wanted: it must not come when the host is back.
    /// </summary>
    protected override async Task<Next> UndoAsync(VmStep step, CancellationToken cancel)
    {
        var before = action.From[0];
        await step.Transaction.WantAsync(step.Vm, before, VmActions.WantedIn(before), cancel);
        return new Next.Done("No changes made");
    }

    protected override Task ForceAsync(VmStep step, CancellationToken cancel) => UndoAsync(step, cancel);

    /// <summary>A guest that runs but whose SSH keeps silent does run: its owner may have closed the port.</summary>
    protected override async Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (action.Wanted != "on" || !IsPowered(vm))
        {
            var why = vm.Problem.Length > 0 ? vm.Problem : $"Timed out: host {vm.Host} did not do it in time.";
            return new Next.Fail(new Problem(ProblemKind.Unavailable, why));
        }
        await step.Transaction.ExecuteAsync(VmSql.SetState, new { id = vm.Id, state = action.End }, cancel);
        return new Next.Done("Running, but SSH does not answer");
    }
}
