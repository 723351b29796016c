using Capsul.Foundation;
using Capsul.Hub.Engine;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Ports;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vms;

/// <summary>
/// Moves a VM: waits until it is off at the source and the target has the verified disk, then puts it on the target in
/// one transaction, and waits until it is there what it was before. The source owns it until that transaction, and
/// keeps its copy until the VM has been started at the target; what it wrote there is never given up. Undo returns to
/// the source. What is left on the other host is removed after the operation (<see cref="ObserveCopies"/>), because
/// that host may be silent.
/// </summary>
public sealed class MoveVmOperation : VmOperation
{
    public const string Stop = "stop", Copy = "copy", Start = "start";

    static readonly TimeSpan LookAgain = TimeSpan.FromSeconds(10);

    public override string Name => MoveVm.OperationName;

    public override IReadOnlyList<(string Name, string Title)> Steps =>
        [(Stop, "Shutting down"), (Copy, "Copying the disk"), (Start, "Starting on the other host")];

    public override bool Cancellable => true;

    /// <summary>It is the operator's.</summary>
    public override bool OwnerMayCancel => false;

    protected override async Task<Next> RunAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (await FindAsync(step, cancel) is not { } move)
            return new Next.Fail(new Problem(ProblemKind.Unavailable, "The record of this move was lost."));
        if (vm.ProblemFinal) return Fail(vm.Problem);
        if (move.Switched is not null) return await ArriveAsync(step, move, cancel);
        if (move.ProblemFinal) return Fail($"{move.ToHost}: {move.Problem}");
        // Only a Spoke on which it is off sends its disk. So once that has arrived, the source may be silent.
        if (!vm.Answered || !(vm.Observed == "off" || (vm.Observed == "unknown" && move.HasArrived)))
            return new Next.Wait(LookAgain);
        if (step.Operation.Step == Stop)
        {
            await step.Transaction.ExecuteAsync(
                VmSql.CloseUsage, new { ids = new[] { vm.Id }, now = step.Now }, cancel);
            return new Next.GoTo(Copy, "Off. It is not charged until it is there");
        }
        if (!move.HasArrived) return new Next.Wait(LookAgain);
        var (there, here) = await NextGenerationsAsync(step, move.ToHost, move.FromHost, cancel);
        await PutAsync(step, move, move.ToHost, "moving", there, cancel);
        await step.Transaction.ExecuteAsync(MoveSql.Switch,
            new { id = move.Id, now = step.Now, copyHost = move.FromHost, generation = here }, cancel);
        return new Next.GoTo(Start, $"The disk is on {move.ToHost}, and was verified");
    }

    static Next Fail(string problem) => new Next.Fail(new Problem(ProblemKind.Unavailable, problem));

    /// <summary>The VM is on the target: waits until it is what it was.</summary>
    static async Task<Next> ArriveAsync(VmStep step, MoveRow move, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (!vm.Answered || vm.Observed != move.WasWanted || (move.Was == "running" && !vm.Ready))
            return new Next.Wait(LookAgain);
        await EndThereAsync(step, move, cancel);
        return new Next.Done(move.Was == "running" ? $"Running on {move.ToHost}" : $"On {move.ToHost}");
    }

    /// <summary>It is what it was, on the target; the source removes its copy.</summary>
    static async Task EndThereAsync(VmStep step, MoveRow move, CancellationToken cancel)
    {
        // In lock order: the totals of the account, which the next statements change, come after the host.
        var here = await NextGenerationAsync(step, move.FromHost, cancel);
        await step.Transaction.ExecuteAsync(VmSql.SetState, new { id = step.Vm.Id, state = move.Was }, cancel);
        await EndAsync(step, move, move.FromHost, here, cancel);
        await ChargeAsync(step, cancel);
    }

    /// <summary>
    /// It stays on the target, whatever it is there. A new generation: its guest may have shut itself down meanwhile,
    /// which is not noted during an operation.
    /// </summary>
    static async Task StayThereAsync(VmStep step, MoveRow move, CancellationToken cancel)
    {
        var (there, here) = await NextGenerationsAsync(step, move.ToHost, move.FromHost, cancel);
        await step.Transaction.ExecuteAsync(VmSql.Want,
            new { id = step.Vm.Id, state = move.Was, wanted = move.WasWanted, generation = there }, cancel);
        await EndAsync(step, move, move.FromHost, here, cancel);
        await ChargeAsync(step, cancel);
    }

    protected override async Task<Next> UndoAsync(VmStep step, CancellationToken cancel)
    {
        if (await FindAsync(step, cancel) is not { } move) return await EndLostAsync(step, cancel);
        if (move.Switched is null) return await ReturnAsync(step, move, cancel);
        var vm = step.Vm;
        if (move.Ran)
        {
            await StayThereAsync(step, move, cancel);
            return new Next.Done($"It stays on {move.ToHost}, where it has already been started");
        }
        if (vm.Wanted != "off")
        {
            await step.Transaction.WantAsync(vm, "moving", "off", cancel);
            return new Next.Wait(LookAgain);
        }
        // Never on at two hosts: the target must say that it is off, and was never on.
        if (!vm.Answered || vm.Observed != "off") return new Next.Wait(LookAgain);
        var (here, there) = await NextGenerationsAsync(step, move.FromHost, move.ToHost, cancel);
        await PutAsync(step, move, move.FromHost, move.Was, here, cancel);
        await EndAsync(step, move, move.ToHost, there, cancel);
        await NoteReturnAsync(step, move, cancel);
        return new Next.Done($"It is on {move.FromHost} again");
    }

    static Task NoteReturnAsync(VmStep step, MoveRow move, CancellationToken cancel) =>
        step.Transaction.ExecuteAsync(MoveRefusalSql.PutReturned, new
        {
            vm = step.Vm.Id,
            host = move.FromHost,
            now = step.Now,
            problem = step.Operation.Problem.Length > 0 ? step.Operation.Problem : "Ended by an operator.",
        }, cancel);

    /// <summary>It has never left the source, which gets its wanted state back.</summary>
    static async Task<Next> ReturnAsync(VmStep step, MoveRow move, CancellationToken cancel)
    {
        var vm = step.Vm;
        var (here, there) = await NextGenerationsAsync(step, move.FromHost, move.ToHost, cancel);
        await step.Transaction.ExecuteAsync(VmSql.Want,
            new { id = vm.Id, state = move.Was, wanted = move.WasWanted, generation = here }, cancel);
        await EndAsync(step, move, move.ToHost, there, cancel);
        await ChargeAsync(step, cancel);
        await NoteReturnAsync(step, move, cancel);
        return new Next.Done($"It stays on {move.FromHost}");
    }

    /// <summary>Somebody deleted the row of the move: the VM stays where the database has it.</summary>
    static async Task<Next> EndLostAsync(VmStep step, CancellationToken cancel)
    {
        var state = step.Vm.Wanted == "on" ? "running" : "stopped";
        await step.Transaction.ExecuteAsync(VmSql.SetState, new { id = step.Vm.Id, state }, cancel);
        return new Next.Done($"It stays on {step.Vm.Host}");
    }

    /// <summary>
    /// If it is on the target, it stays there: nobody knows whether it has been started. The source keeps its copy
    /// until it is reported on.
    /// </summary>
    protected override async Task ForceAsync(VmStep step, CancellationToken cancel)
    {
        if (await FindAsync(step, cancel) is not { } move) await EndLostAsync(step, cancel);
        else if (move.Switched is null) await ReturnAsync(step, move, cancel);
        else if (move.Ran) await StayThereAsync(step, move, cancel);
        else
        {
            await step.Transaction.WantAsync(step.Vm, move.Was, move.WasWanted, cancel);
            await step.Transaction.ExecuteAsync(MoveSql.EndKeeping, new { id = move.Id, now = step.Now }, cancel);
            await ChargeAsync(step, cancel);
        }
    }

    protected override async Task<Next?> OverdueAsync(VmStep step, CancellationToken cancel)
    {
        var vm = step.Vm;
        if (await FindAsync(step, cancel) is not { } move) return null;
        if (move.Switched is not null && move.Was == "running" && vm.Answered && vm.Observed == "on")
        {
            await EndThereAsync(step, move, cancel);
            return new Next.Done($"Running on {move.ToHost}, but SSH does not respond");
        }
        return Fail(vm.Problem.Length > 0 ? vm.Problem
            : move.Problem.Length > 0 ? $"{move.ToHost}: {move.Problem}"
            : move.Switched is not null ? $"Timed out: {move.ToHost} did not start it in time."
            : vm.Observed != "off" ? $"Timed out: {move.FromHost} did not shut it down in time."
            : $"Timed out: the disk did not arrive on {move.ToHost} in time.");
    }

    static async Task<MoveRow?> FindAsync(VmStep step, CancellationToken cancel)
    {
        var move = await step.Transaction.FindAsync<MoveRow>(MoveSql.OpenOf, new { vm = step.Vm.Id }, cancel);
        if (move is not null && move.Operation != step.Operation.Id)
            await step.Transaction.ExecuteAsync(
                MoveSql.Adopt, new { id = move.Id, operation = step.Operation.Id }, cancel);
        return move;
    }

    static async Task PutAsync(
        VmStep step, MoveRow move, string host, string state, long generation, CancellationToken cancel)
    {
        await step.Transaction.ExecuteAsync(
            MoveSql.PutOnHost, new { id = step.Vm.Id, host, state, wanted = move.WasWanted, generation }, cancel);
        await OpenPort.FollowAsync(step.Transaction, step.Vm.Id, host, cancel);
    }

    static Task EndAsync(VmStep step, MoveRow move, string copyHost, long generation, CancellationToken cancel) =>
        step.Transaction.ExecuteAsync(
            MoveSql.End, new { id = move.Id, now = step.Now, copyHost, generation }, cancel);

    /// <summary>Nobody pays for a VM whose state is unknown, or that its host has paused.</summary>
    static async Task ChargeAsync(VmStep step, CancellationToken cancel)
    {
        if (step.Vm is { Observed: "on" or "off", Paused: false })
            await step.Transaction.ExecuteAsync(
                VmSql.OpenUsage, new { ids = new[] { step.Vm.Id }, now = step.Now }, cancel);
    }

    static Task<long> NextGenerationAsync(VmStep step, string host, CancellationToken cancel) =>
        step.Transaction.FindAsync<long>(HostSql.NextGeneration, new { host }, cancel);

    /// <summary>Of two hosts, which are locked in the usual order first.</summary>
    static async Task<(long First, long Second)> NextGenerationsAsync(
        VmStep step, string first, string second, CancellationToken cancel)
    {
        await step.Transaction.ListAsync<string>(MoveSql.LockHosts, new { hosts = new[] { first, second } }, cancel);
        return (await NextGenerationAsync(step, first, cancel), await NextGenerationAsync(step, second, cancel));
    }
}
