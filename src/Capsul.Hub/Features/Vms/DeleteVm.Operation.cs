using Capsul.Hub.Database;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Vms;

/// <summary>Waits until the Spoke reports that nothing is left. There is no way back, so there is no undo; an operator may force it.</summary>
public sealed class DeleteVmOperation : OperationKind
{
    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => VmActions.Delete.Operation;

    public override IReadOnlyList<(string Name, string Title)> Steps => [(PowerOperation.Power, VmActions.Delete.Says.Present)];

    public override async Task<Next> RunAsync(StepContext context, CancellationToken cancel)
    {
        var vm = context.Vm;
        if (!vm.Answered || vm.Observed != "gone")
            return new Next.Wait(LookAgain);
        await EndAsync(context, cancel);
        await context.Transaction.ExecuteAsync(AddressSql.Free, new { id = vm.Id, now = context.Now }, cancel);
        return new Next.Done(VmActions.Delete.Says.Done);
    }

    public override Task<Next> UndoAsync(StepContext context, CancellationToken cancel) =>
        Task.FromResult<Next>(new Next.GoTo(PowerOperation.Power));

    /// <summary>Nothing is charged any more, so there is no harm in going on.</summary>
    public override Task<Next> OverdueAsync(StepContext context, CancellationToken cancel) => Task.FromResult<Next>(new Next.Wait(LookAgain));

    /// <summary>The wanted state stays "gone": when the host comes back it removes the VM and the address is freed then.</summary>
    public override Task ForceAsync(StepContext context, CancellationToken cancel) => EndAsync(context, cancel);

    static Task EndAsync(StepContext context, CancellationToken cancel) => context.Transaction.ExecuteAsync(
        VmSql.MarkGone, new { id = context.Vm.Id, state = VmActions.Delete.End, now = context.Now, problem = "" }, cancel);
}
