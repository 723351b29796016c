using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Every action that leaves the VM there, such as start, stop and restart: one step that waits for the requested power
/// state. If it is not reached, the request is withdrawn: the VM returns to its previous state, and its owner can try
/// again.
/// </summary>
public sealed class PowerOperation(VmAction action) : VmOperation
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

    /// <summary>The Spoke has reported that it is done.</summary>
    bool IsPowered(VmRow vm) => vm.Answered && vm.Observed == action.Wanted && vm.ObservedRestarts >= vm.Restarts;

    /// <summary>
    /// A restart that the Spoke has not carried out is withdrawn: it must not happen when the host returns.
    /// </summary>
    protected override async Task<Next> UndoAsync(VmStep step, CancellationToken cancel)
    {
        var before = action.From[0];
        await step.Transaction.WantAsync(step.Vm, before, VmActions.WantedIn(before), cancel);
        return new Next.Done("No changes made");
    }

    protected override Task ForceAsync(VmStep step, CancellationToken cancel) => UndoAsync(step, cancel);

    /// <summary>
    /// A guest whose SSH does not respond still counts as running: its owner may have closed the port.
    /// </summary>
    protected override async Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (action.Wanted != "on" || !IsPowered(vm))
        {
            var why = vm.Problem.Length > 0 ? vm.Problem : $"Timed out: host {vm.Host} did not do it in time.";
            return new Next.Fail(new Problem(ProblemKind.Unavailable, why));
        }
        await step.Transaction.ExecuteAsync(VmSql.SetState, new { id = vm.Id, state = action.End }, cancel);
        return new Next.Done("Running, but SSH does not respond");
    }
}
