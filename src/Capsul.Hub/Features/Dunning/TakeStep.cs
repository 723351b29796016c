using Capsul.Foundation;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Dunning;

/// <summary>
/// What dunning does to an account and to its VMs, each in the caller's fenced transaction. The account's totals are
/// locked before the decision is made, so a payment comes either before it, and counts, or after it, and undoes it. The
/// steps are read then, too, and stay until the end: what a number means cannot change under the decision.
/// </summary>
public static class TakeStep
{
    /// <summary>Who did it, in audit lines.</summary>
    public const string Actor = "dunning";

    /// <summary>Takes the account a step further or back; false: it stays where it is.</summary>
    public static async Task<bool> RunAsync(NpgsqlTransaction transaction, string email,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var (table, found) = await LoadAsync(transaction, email, now, cancel);
        if (found is not { } facts || DecideDunning.Decide(facts, table) is not { } move)
            return false;
        if (move is { Forward: true, Step: { } next })
        {
            var mail = DunningMail.Write(email, next, table, facts.Balance, settings, now);
            await transaction.ExecuteAsync(DunningSql.Take, new
            {
                email,
                step = next.Step,
                now,
                mail = await new Outbox(time).EnqueueAsync(transaction, mail, cancel),
            }, cancel);
        }
        else
            await transaction.ExecuteAsync(DunningSql.GoBack, new { email, step = move.Step?.Step ?? 0, now }, cancel);
        await transaction.AuditAsync(Actor, move.Forward ? "dunning_step" : "dunning_back", email,
            move.Step is { } step ? $"step {step.Step}, {step.Action}" : "none", cancel);
        return true;
    }

    /// <summary>Stops a VM if its account is still to be stopped.</summary>
    public static async Task<bool> StopAsync(NpgsqlTransaction transaction, DunnedVmRow vm,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var (table, found) = await LockAsync(transaction, vm, now, cancel);
        if (found is not { Held: false } facts || !table.IsStopped(facts.Step) || facts.Balance.Balance > 0)
            return false;
        var outcome = await ChangeVm.InAsync(transaction, VmActions.Stop, vm.Email, vm.Id, Actor,
            "The balance is used up", settings, time, cancel);
        if (outcome.Problem is not null) return false;
        await transaction.ExecuteAsync(DunningSql.NoteStop, new { id = vm.Id, now }, cancel);
        return true;
    }

    /// <summary>Deletes a VM if its account is still to be deleted.</summary>
    public static async Task<bool> DeleteAsync(NpgsqlTransaction transaction, DunnedVmRow vm,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var (table, found) = await LockAsync(transaction, vm, time.GetUtcNow().UtcDateTime, cancel);
        if (found is not { Held: false } facts || !table.IsDeleted(facts.Step) || facts.Balance.Balance > 0)
            return false;
        return (await ChangeVm.InAsync(transaction, VmActions.Delete, vm.Email, vm.Id, Actor,
            "The balance stayed used up", settings, time, cancel)).Problem is null;
    }

    /// <summary>
    /// The account has paid: what was stopped for it starts again. It is remembered until it runs, so that a host that
    /// does not answer at that moment is no reason to forget it.
    /// </summary>
    public static async Task<bool> StartAsync(NpgsqlTransaction transaction, DunnedVmRow vm,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var (table, facts) = await LockAsync(transaction, vm, time.GetUtcNow().UtcDateTime, cancel);
        var row = await transaction.FindAsync<VmRow>(VmSql.Find, new { id = vm.Id, email = vm.Email }, cancel);
        if (row is null or { Deleted: not null } or { State: "running" })
            await transaction.ExecuteAsync(DunningSql.ForgetStop, new { id = vm.Id }, cancel);
        else if (facts is not null && !table.IsStopped(facts.Step))
            return (await ChangeVm.InAsync(transaction, VmActions.Start, vm.Email, vm.Id, Actor,
                "The account has paid", settings, time, cancel)).Problem is null;
        return false;
    }

    /// <summary>
    /// In the order of locks: the steps, which somebody may keep for long, then operation, VM, host, and the totals.
    /// </summary>
    static async Task<(DunningTable Table, DecideDunning.Facts? Facts)> LockAsync(
        NpgsqlTransaction transaction, DunnedVmRow vm, DateTime now, CancellationToken cancel)
    {
        await transaction.AskAsync<string>(DunningSql.KeepSteps, null, cancel);
        await transaction.FindAsync<long?>(Engine.OperationSql.LockOpenOf, new { vm = vm.Id }, cancel);
        if (await transaction.FindAsync<VmRow>(VmSql.Lock, new { id = vm.Id, email = vm.Email }, cancel) is { } row)
            await transaction.ExecuteAsync(HostSql.LockOne, new { id = row.Host }, cancel);
        return await LoadAsync(transaction, vm.Email, now, cancel);
    }

    static async Task<(DunningTable Table, DecideDunning.Facts? Facts)> LoadAsync(
        NpgsqlTransaction transaction, string email, DateTime now, CancellationToken cancel)
    {
        // Again, for those that have locked nothing before.
        await transaction.AskAsync<string>(DunningSql.KeepSteps, null, cancel);
        await transaction.ExecuteAsync(DunningSql.LockTotals, new { email }, cancel);
        var table = new DunningTable(await transaction.ListAsync<DunningStepRow>(DunningSql.Steps, null, cancel));
        var row = await transaction.FindAsync<DunningAccountRow>(DunningSql.Find, new { email, now }, cancel);
        var clock = await transaction.AskAsync<DunningClockRow>(DunningSql.Clock, null, cancel);
        return (table, row is null ? null : FactsOf(row, clock));
    }

    public static DecideDunning.Facts FactsOf(DunningAccountRow row, DunningClockRow clock) =>
        new(row.Balance, row.Step, row.Told, row.Charged, row.Held || clock.Paused.Length > 0, clock.Seconds);
}
