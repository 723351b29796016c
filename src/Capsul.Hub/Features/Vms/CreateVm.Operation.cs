using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// If its host has no free build slot, it waits for one (<see cref="AdmitBuilds"/>); only then does the time limit for
/// the rest begin, and only then does the Spoke know of the VM. Then it waits until the Spoke has created the VM and
/// SSH responds; only then is the VM running, and charged. Undo sets its wanted state to gone, waits until it is, and
/// releases the address.
/// </summary>
public class CreateVmOperation : VmOperation
{
    public const string Queue = "queue", Start = "start", Boot = "boot";

    /// <summary>
    /// How long a VM may wait for a build slot. An operation that begins in the queue gets this much more time.
    /// </summary>
    public static readonly TimeSpan QueueLimit = TimeSpan.FromHours(6);

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10), LookInQueue = TimeSpan.FromMinutes(10);

    public override string Name => CreateVm.OperationName;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(Queue, "Waiting for a build slot"), (Start, "Creating disk and VM"), (Boot, "Waiting for SSH")];

    public override bool Cancellable => true;

    /// <summary>The last line of an operation that was rolled back.</summary>
    protected virtual string Undone => "Rolled back: disk and address are free again, and you were not charged";

    /// <summary>It answers: from now on it is running.</summary>
    protected virtual Task EndAsync(VmStep step, CancellationToken cancel) =>
        step.Transaction.ExecuteAsync(VmSql.SetState, new { id = step.Vm.Id, state = "running" }, cancel);

    protected override async Task<Next> RunAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (vm.ProblemFinal)
            return new Next.Fail(new Problem(ProblemKind.Unavailable, vm.Problem));
        switch (step.Operation.Step)
        {
            case Queue:
                return Wait(step);
            case Start when vm.Answered && vm.Observed == "on":
                return new Next.GoTo(Boot);
            case Boot when vm is { Observed: "on", Ready: true, Paused: false }:
                await EndAsync(step, cancel);
                await step.Transaction.ExecuteAsync(
                    VmSql.OpenUsage, new { ids = new[] { vm.Id }, now = step.Now }, cancel);
                return new Next.Done("Running");
            default:
                return new Next.Wait(LookAgain);
        }
    }

    static Next Wait(VmStep step)
    {
        var operation = step.Operation;
        if (step.Vm.Queued is null)
        {
            var build = operation.DeadlineAt - operation.Created - QueueLimit;
            return new Next.GoTo(Start, "Building it now", build > TimeSpan.Zero ? build : null);
        }
        // Who gives it a slot wakes it. Thousands may wait.
        var left = operation.Created + QueueLimit - step.Now;
        return left > TimeSpan.Zero ? new Next.Wait(left < LookInQueue ? left : LookInQueue)
            : new Next.Fail(new Problem(ProblemKind.Unavailable,
                $"Host {step.Vm.Host} was too busy to build it. You were not charged. Try again later."));
    }

    protected override Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel) =>
        Task.FromResult<Next?>(new Next.Fail(
            new Problem(ProblemKind.Unavailable, step.Vm switch
            {
                { Problem.Length: > 0 } vm => vm.Problem,
                { Observed: "on" } =>
                    "SSH did not respond in time. You were not charged; the last console output is below.",
                _ => $"Host {step.Vm.Host} did not start it in time. You were not charged.",
            })));

    protected override async Task<Next> UndoAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (vm.Queued is not null) return await LeaveQueueAsync(step, cancel);
        if (vm.Wanted != "gone")
        {
            await step.Transaction.WantAsync(vm, "deleting", "gone", cancel);
            return new Next.Wait(LookAgain);
        }
        if (!vm.Answered || vm.Observed != "gone")
            return new Next.Wait(LookAgain);
        await MarkGoneAsync(step, cancel);
        await step.Transaction.ExecuteAsync(AddressSql.Free, new { id = vm.Id, now = step.Now }, cancel);
        return new Next.Done(Undone);
    }

    /// <summary>
    /// Its host has not heard of it, unless the database was restored from a backup: so the address stays reserved
    /// until the Spoke reports that the VM is gone, but nobody waits for that.
    /// </summary>
    static async Task<Next> LeaveQueueAsync(VmStep step, CancellationToken cancel)
    {
        await step.Transaction.WantAsync(step.Vm, "deleting", "gone", cancel);
        await MarkGoneAsync(step, cancel);
        return new Next.Done("Left the queue; you were not charged");
    }

    /// <summary>
    /// The address stays reserved until the Spoke reports that the VM is gone: it may still be in use.
    /// </summary>
    protected override async Task ForceAsync(VmStep step, CancellationToken cancel)
    {
        if (step.Vm.Wanted != "gone")
            await step.Transaction.WantAsync(step.Vm, "deleting", "gone", cancel);
        await MarkGoneAsync(step, cancel);
    }

    static Task MarkGoneAsync(VmStep step, CancellationToken cancel) => step.Transaction.ExecuteAsync(
        VmSql.MarkGone,
        new { id = step.Vm.Id, state = "failed", now = step.Now, problem = step.Operation.Problem }, cancel);
}
