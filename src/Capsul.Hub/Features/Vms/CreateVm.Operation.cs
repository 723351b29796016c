using Capsul.Foundation;
using Capsul.Hub.Database;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Waits until the Spoke has made the VM and its SSH answers; then it runs, and only then it is charged. Undo asks for it to be
/// gone, waits until it is, and frees the address.
/// </summary>
public sealed class CreateVmOperation : OperationKind
{
    public const string Start = "start", Boot = "boot";

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => CreateVm.OperationName;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(Start, "Creating disk and VM"), (Boot, "Waiting for SSH")];

    public override bool Cancellable => true;

    public override async Task<Next> RunAsync(StepContext context, CancellationToken cancel)
    {
        var vm = context.Vm;
        if (vm.ProblemFinal)
            return new Next.Fail(new Problem(ProblemKind.Unavailable, vm.Problem));
        switch (context.Operation.Step)
        {
            case Start when vm.Answered && vm.Observed == "on":
                return new Next.GoTo(Boot);
            case Boot when vm.Observed == "on" && vm.Ready:
                await context.Transaction.ExecuteAsync(VmSql.SetState, new { id = vm.Id, state = "running" }, cancel);
                await context.Transaction.ExecuteAsync(VmSql.OpenUsage, new { id = vm.Id, now = context.Now }, cancel);
                return new Next.Done("Running");
            default:
                return new Next.Wait(LookAgain);
        }
    }

    public override Task<Next> OverdueAsync(StepContext context, CancellationToken cancel) => Task.FromResult<Next>(new Next.Fail(
        new Problem(ProblemKind.Unavailable, context.Vm switch
        {
            { Problem.Length: > 0 } vm => vm.Problem,
            { Observed: "on" } => "SSH did not answer in time. You were not charged; the last console output is below.",
            _ => $"Host {context.Vm.Host} did not start it in time. You were not charged.",
        })));

    public override async Task<Next> UndoAsync(StepContext context, CancellationToken cancel)
    {
        var vm = context.Vm;
        if (vm.Wanted != "gone")
        {
            await context.Transaction.WantAsync(vm, "deleting", "gone", cancel);
            return new Next.Wait(LookAgain);
        }
        if (!vm.Answered || vm.Observed != "gone")
            return new Next.Wait(LookAgain);
        await EndAsync(context, cancel);
        await context.Transaction.ExecuteAsync(AddressSql.Free, new { id = vm.Id, now = context.Now }, cancel);
        return new Next.Done("Rolled back: disk and address are free again, and you were not charged");
    }

    /// <summary>The address stays taken until the Spoke says that the VM is gone: it may still be answering there.</summary>
    public override async Task ForceAsync(StepContext context, CancellationToken cancel)
    {
        if (context.Vm.Wanted != "gone")
            await context.Transaction.WantAsync(context.Vm, "deleting", "gone", cancel);
        await EndAsync(context, cancel);
    }

    static Task EndAsync(StepContext context, CancellationToken cancel) => context.Transaction.ExecuteAsync(
        VmSql.MarkGone, new { id = context.Vm.Id, state = "failed", now = context.Now, problem = context.Operation.Problem }, cancel);
}
