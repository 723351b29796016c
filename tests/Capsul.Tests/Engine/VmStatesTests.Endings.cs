using Capsul.Hub.Features.Vms;
using Capsul.Tests.Support;
using Capsul.Wire;

namespace Capsul.Tests.Engine;

/// <summary>Operations of every kind, brought to an ending.</summary>
public sealed partial class VmStatesTests
{
    enum Ending { Done, FinalProblem, Overdue, Forced, Cancelled }

    static async Task CarryAsync(VmRows rows, VmAction? action, Ending ending)
    {
        await rows.RemoveAllAsync(Cancel);
        var vm = action is null ? await rows.NewVmAsync(Cancel) : await rows.RunningVmAsync(Cancel);
        if (action?.From[0] == "stopped")
        {
            (await rows.ChangeAsync(VmActions.Stop, vm, Cancel)).OrThrow();
            await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel);
            await rows.SettleAsync(Cancel);
        }
        if (action is not null) (await rows.ChangeAsync(action, vm, Cancel)).OrThrow();
        switch (ending)
        {
            case Ending.Done:
                await rows.ReportAsync(
                    vm, action?.Wanted switch { "off" => Power.Off, "gone" => Power.Gone, _ => Power.On },
                    Phase.Ready, Cancel);
                break;
            case Ending.FinalProblem:
                await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel,
                    r => (r.Problem, r.ProblemFinal, r.Restarts) = ("broken", true, 0));
                break;
            case Ending.Overdue:
                rows.Time.Advance(TimeSpan.FromHours(1));
                break;
            case Ending.Forced:
                await rows.ForceAsync(vm, Cancel);
                break;
            default:
                await rows.CancelAsync(vm, Cancel);
                break;
        }
        await rows.SettleAsync(Cancel);
        await rows.ReportAsync(vm, Power.Gone, Phase.None, Cancel);
        await rows.SettleAsync(Cancel);
    }

    static async Task CarryMoveAsync(VmRows rows, Ending ending)
    {
        await rows.RemoveAllAsync(Cancel);
        await rows.AddTargetAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.MoveAsync(vm, Cancel)).OrThrow();
        if (ending == Ending.Done) await rows.CarryMoveAsync(vm, Cancel);
        if (ending == Ending.FinalProblem)
            await rows.ReportCopyAsync(vm, Power.Off, Cancel, r => (r.Problem, r.ProblemFinal) = ("full", true));
        if (ending == Ending.Overdue) rows.Time.Advance(TimeSpan.FromHours(2));
        if (ending == Ending.Forced) await rows.ForceAsync(vm, Cancel);
        if (ending == Ending.Cancelled) await rows.AskAsync(vm, "cancel", Cancel);
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
    }

    static async Task CarryReinstallAsync(VmRows rows, Ending ending)
    {
        await rows.RemoveAllAsync(Cancel);
        var vm = await rows.RunningVmAsync(Cancel);
        (await rows.ReinstallAsync(vm, Cancel)).OrThrow();
        if (ending == Ending.Done) await rows.CarryReinstallAsync(vm, Cancel);
        if (ending == Ending.FinalProblem)
            await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel,
                r => (r.Problem, r.ProblemFinal) = ("full", true));
        if (ending == Ending.Overdue) rows.Time.Advance(TimeSpan.FromHours(2));
        if (ending == Ending.Forced) await rows.ForceAsync(vm, Cancel);
        if (ending == Ending.Cancelled) (await rows.CancelAsync(vm, Cancel)).OrThrow();
        await rows.SettleAsync(Cancel);
        (await rows.FindAsync(vm, Cancel)).State.ShouldBe("running");
        (await rows.CountAsync("reinstalls", "TRUE", Cancel)).ShouldBe(0);
    }

    static async Task CarryRescueAsync(VmRows rows, Ending ending, bool ends)
    {
        await rows.RemoveAllAsync(Cancel);
        var vm = ends ? await rows.RescuedVmAsync(Cancel) : await rows.RunningVmAsync(Cancel);
        (ends ? await rows.EndRescueAsync(vm, Cancel) : await rows.RescueAsync(vm, Cancel)).OrThrow();
        if (ending == Ending.Done) await rows.CarryRescueAsync(vm, Cancel);
        if (ending == Ending.FinalProblem)
            await rows.ReportAsync(vm, Power.Off, Phase.None, Cancel,
                r => (r.Problem, r.ProblemFinal) = ("full", true));
        if (ending == Ending.Overdue) rows.Time.Advance(TimeSpan.FromHours(2));
        if (ending == Ending.Forced) await rows.ForceAsync(vm, Cancel);
        // It cannot be canceled that its own system is started; an operator may force it.
        if (ending == Ending.Cancelled && ends) await rows.ForceAsync(vm, Cancel);
        else if (ending == Ending.Cancelled) (await rows.CancelAsync(vm, Cancel)).OrThrow();
        await rows.SettleAsync(Cancel);
        var row = await rows.FindAsync(vm, Cancel);
        (row.State, row.InRescue).ShouldBe(("running", ends != (ending == Ending.Done)));
    }
}
