using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Waits until the VM runs from the new disk and SSH responds. Only then it is what it was to become, in one
/// transaction, and its Spoke may remove the old disk. Until then undo is to want the old disk again, which is there.
/// </summary>
public sealed class ReinstallVmOperation : VmOperation
{
    public const string Renew = "renew", Boot = "boot";

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => ReinstallVm.OperationName;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(Renew, "Shutting down and making a new disk"), (Boot, "Waiting for SSH")];

    public override bool Cancellable => true;

    protected override async Task<Next> RunAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (await FindAsync(step, cancel) is not { } reinstall)
            return Fail("The record of this reinstall was lost.");
        if (vm.ProblemFinal) return Fail(vm.Problem);
        if (!RunsFrom(vm, reinstall)) return new Next.Wait(LookAgain);
        if (step.Operation.Step == Renew) return new Next.GoTo(Boot);
        if (!vm.Ready || vm.Paused) return new Next.Wait(LookAgain);
        await FinishAsync(step, cancel);
        return new Next.Done("Running from a new disk; the old one is gone. Its SSH host keys are new");
    }

    static Next Fail(string problem) => new Next.Fail(new Problem(ProblemKind.Unavailable, problem));

    static Task<ReinstallRow?> FindAsync(VmStep step, CancellationToken cancel) =>
        step.Transaction.FindAsync<ReinstallRow>(ReinstallSql.Find, new { vm = step.Vm.Id }, cancel);

    static bool RunsFrom(VmRow vm, ReinstallRow reinstall) =>
        vm.Answered && vm.Observed == "on" && vm.ObservedDisk == reinstall.Disk;

    static async Task FinishAsync(VmStep step, CancellationToken cancel)
    {
        var vm = new { vm = step.Vm.Id };
        var generation = await step.Transaction.FindAsync<long>(
            HostSql.NextGeneration, new { host = step.Vm.Host }, cancel);
        await step.Transaction.ExecuteAsync(ReinstallSql.Finish, new { vm.vm, generation }, cancel);
        await step.Transaction.ExecuteAsync(VmSql.DeleteKeys, new { id = vm.vm }, cancel);
        await step.Transaction.ExecuteAsync(ReinstallSql.PutKeys, vm, cancel);
        await step.Transaction.ExecuteAsync(KeyChangeSql.Withdraw, vm, cancel);
        await step.Transaction.ExecuteAsync(ReinstallSql.Delete, vm, cancel);
    }

    protected override async Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        var isBooting = await FindAsync(step, cancel) is { } reinstall && RunsFrom(vm, reinstall);
        return Fail(vm.Problem.Length > 0 ? vm.Problem
            : isBooting ? "SSH did not respond in time; the last console output is below."
            : $"Timed out: host {vm.Host} did not do it in time.");
    }

    protected override async Task<Next> UndoAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        var was = (await FindAsync(step, cancel))?.Was ?? (vm.Wanted == "off" ? "stopped" : "running");
        await step.Transaction.WantAsync(vm, was, VmActions.WantedIn(was), cancel);
        await step.Transaction.ExecuteAsync(ReinstallSql.Delete, new { vm = vm.Id }, cancel);
        return new Next.Done("Rolled back: it has its old disk, with all data");
    }

    /// <summary>The host is told when it is back.</summary>
    protected override Task ForceAsync(VmStep step, CancellationToken cancel) => UndoAsync(step, cancel);
}
