using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Waits until the Spoke reports that nothing is left. Deletion cannot be undone; an operator may force its end.
/// </summary>
public sealed class DeleteVmOperation : VmOperation
{
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => VmActions.Delete.Operation;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(PowerOperation.Power, VmActions.Delete.Says.Present)];

    public override bool GoesOn => true;

    protected override async Task<Next> RunAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (!vm.Answered || vm.Observed != "gone")
            return new Next.Wait(LookAgain);
        await EndAsync(step, cancel);
        await step.Transaction.ExecuteAsync(AddressSql.Free, new { id = vm.Id, now = step.Now }, cancel);
        return new Next.Done(VmActions.Delete.Says.Done);
    }

    protected override Task<Next> UndoAsync(VmStep step, CancellationToken cancel) =>
        Task.FromResult<Next>(new Next.GoTo(PowerOperation.Power));

    /// <summary>Nothing is charged anymore, so continuing does no harm.</summary>
    protected override Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel) =>
        Task.FromResult<Next?>(new Next.Wait(LookAgain));

    /// <summary>
    /// The wanted state stays "gone": when the host returns it removes the VM, and the address is released then.
    /// </summary>
    protected override Task ForceAsync(VmStep step, CancellationToken cancel) => EndAsync(step, cancel);

    static Task EndAsync(VmStep step, CancellationToken cancel) => step.Transaction.ExecuteAsync(
        VmSql.MarkGone, new { id = step.Vm.Id, state = VmActions.Delete.End, now = step.Now, problem = "" }, cancel);
}
