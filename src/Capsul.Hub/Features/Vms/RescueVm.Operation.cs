using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Waits until the VM runs from the rescue system and its SSH responds. Undo is to want its own disk again.
/// </summary>
public sealed class RescueVmOperation : VmOperation
{
    public const string Boot = "boot";

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => RescueVm.OperationName;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(Boot, "Shutting down and starting the rescue system")];

    public override bool Cancellable => true;

    protected override async Task<Next> RunAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (await FindAsync(step, cancel) is not { } rescue) return Fail("The record of this rescue was lost.");
        if (vm.ProblemFinal) return Fail(vm.Problem);
        if (!RunsFrom(vm, rescue) || !vm.Ready || vm.Paused) return new Next.Wait(LookAgain);
        await step.Transaction.ExecuteAsync(VmSql.SetState, new { id = vm.Id, state = "running" }, cancel);
        return new Next.Done("Running in rescue");
    }

    static Next Fail(string problem) => new Next.Fail(new Problem(ProblemKind.Unavailable, problem));

    static Task<RescueRow?> FindAsync(VmStep step, CancellationToken cancel) =>
        step.Transaction.FindAsync<RescueRow>(RescueSql.Find, new { vm = step.Vm.Id }, cancel);

    static bool RunsFrom(VmRow vm, RescueRow rescue) =>
        vm.Answered && vm.Observed == "on" && vm.ObservedRescue == rescue.Number;

    protected override async Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        var isBooting = await FindAsync(step, cancel) is { } rescue && RunsFrom(vm, rescue);
        return Fail(vm.Problem.Length > 0 ? vm.Problem
            : isBooting ? "SSH of the rescue system did not respond in time; the last console output is below."
            : $"Timed out: host {vm.Host} did not do it in time.");
    }

    protected override async Task<Next> UndoAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        var was = (await FindAsync(step, cancel))?.Was ?? (vm.Wanted == "off" ? "stopped" : "running");
        await step.Transaction.ExecuteAsync(RescueSql.End, new { vm = vm.Id, now = step.Now }, cancel);
        await step.Transaction.WantAsync(vm, was, VmActions.WantedIn(was), cancel);
        return new Next.Done("Rolled back: it has its own system again");
    }

    /// <summary>The host is told when it is back.</summary>
    protected override Task ForceAsync(VmStep step, CancellationToken cancel) => UndoAsync(step, cancel);
}
