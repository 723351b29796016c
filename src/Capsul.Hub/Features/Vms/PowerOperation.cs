using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Start, stop and restart: one step that waits for the power that was asked for. When it does not come, the wish is taken back, so
/// that the VM is again what it was, and its owner can ask again.
/// </summary>
public abstract class PowerOperation(string name, string title) : OperationKind
{
    public const string Power = "power";

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => name;

    public override IReadOnlyList<(string Name, string Title)> Steps => [(Power, title)];

    public override async Task<Next> RunAsync(StepContext context, CancellationToken cancel)
    {
        var vm = context.Vm;
        if (vm.ProblemFinal)
            return new Next.Fail(new Problem(ProblemKind.Unavailable, vm.Problem));
        if (!vm.Answered || !IsReached(vm))
            return new Next.Wait(LookAgain);
        await context.Transaction.ExecuteAsync(VmSql.SetState, new { id = vm.Id, state = EndState }, cancel);
        return new Next.Done(EndState == "running" ? "It runs" : "It is off");
    }

    protected abstract string EndState { get; }

    /// <summary>State and wanted power to go back to.</summary>
    protected abstract (string State, string Wanted) Before { get; }

    protected abstract bool IsReached(VmRow vm);

    public override async Task<Next> UndoAsync(StepContext context, CancellationToken cancel)
    {
        await context.Transaction.WantAsync(context.Vm, Before.State, Before.Wanted, 0, TimeSpan.Zero, cancel);
        return new Next.Done("It was left as it was");
    }

    public override Task ForceAsync(StepContext context, CancellationToken cancel) => UndoAsync(context, cancel);

    /// <summary>A guest that runs but whose SSH keeps silent does run: its owner may have closed the port.</summary>
    public override async Task<Next> OverdueAsync(StepContext context, CancellationToken cancel)
    {
        var vm = context.Vm;
        if (EndState != "running" || !vm.Answered || vm.Observed != "on" || vm.ObservedRestarts < vm.Restarts)
            return new Next.Fail(new Problem(ProblemKind.Unavailable, vm.Problem.Length > 0 ? vm.Problem : $"The host {vm.Host} did not do it in time."));
        await context.Transaction.ExecuteAsync(VmSql.SetState, new { id = vm.Id, state = EndState }, cancel);
        return new Next.Done("It runs, but its SSH does not answer");
    }
}

public sealed class StartVmOperation() : PowerOperation(StartVm.OperationName, "It starts until SSH answers")
{
    protected override string EndState => "running";
    protected override (string State, string Wanted) Before => ("stopped", "off");
    protected override bool IsReached(VmRow vm) => vm is { Observed: "on", Ready: true };
}

public sealed class StopVmOperation() : PowerOperation(StopVm.OperationName, "The guest shuts down")
{
    protected override string EndState => "stopped";
    protected override (string State, string Wanted) Before => ("running", "on");
    protected override bool IsReached(VmRow vm) => vm.Observed == "off";
}

public sealed class RestartVmOperation() : PowerOperation(RestartVm.OperationName, "The guest shuts down and starts again")
{
    protected override string EndState => "running";
    protected override (string State, string Wanted) Before => ("running", "on");
    protected override bool IsReached(VmRow vm) => vm is { Observed: "on", Ready: true } && vm.ObservedRestarts >= vm.Restarts;
}
