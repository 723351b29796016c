using Capsul.Foundation;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: takes accounts that are being closed further when they may no longer be reopened. Their
/// VMs are deleted, each as an operation of its own; when none is left, the money leaves and the name goes; and when
/// all of it is paid, nobody knows any more whose it was. What has happened is in rows, so a Hub that is killed at any
/// moment goes on where it was. Years later, the names on the receipts go. A clock that has jumped ahead makes nothing
/// due: what cannot be undone goes by the trusted time (<see cref="DunningSql.Trusted"/>).
/// </summary>
public sealed class ClosingSweep(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<ClosingSweep> log) : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    const int PageRows = 100;

    public override string Name => "Closing accounts";

    protected override TimeSpan Pause => Every;

    /// <summary>One round; returns how many steps it took.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var (done, trusted) = (0, await db.AskAsync<DateTime>(DunningSql.Trusted, new { now = Now }, cancel));
        for (long? after = 0; after is not null;)
        {
            var page = await db.ListAsync<ClosingRow>(
                ClosingSql.Due, new { now = trusted, after, limit = PageRows }, cancel);
            foreach (var closing in page) done += await StepAsync(epoch, closing, cancel);
            after = page.Count == PageRows ? page[^1].Id : null;
        }
        foreach (var id in await db.ListAsync<long>(
            ClosingSql.ToForget, new { now = trusted, limit = PageRows }, cancel))
            done += await TryAsync(epoch, $"closing {id}", async transaction => await transaction.AskAsync<string>(
                ClosingSql.ForgetReceipts, new { id, now = Now }, cancel) is not null, cancel);
        return done;
    }

    async Task<int> StepAsync(long epoch, ClosingRow closing, CancellationToken cancel)
    {
        var subject = $"closing {closing.Id}";
        if (closing.Settled is not null)
            return await TryAsync(epoch, subject, async transaction =>
                await transaction.ExecuteAsync(
                    ClosingPayoutSql.FollowRefunds, new { closing = closing.Id, now = Now }, cancel)
                + await transaction.ExecuteAsync(ClosingSql.Finish, new { id = closing.Id, now = Now }, cancel) > 0,
                cancel);
        var alive = await db.ListAsync<string>(ClosingSql.AliveVms, new { email = closing.Email }, cancel);
        if (alive.Count == 0)
            return await TryAsync(epoch, subject, transaction =>
                SettleAccount.InAsync(transaction, closing, settings, Now, cancel), cancel);
        var done = 0;
        foreach (var vm in alive)
            done += await TryAsync(
                epoch, vm, transaction => DeleteAsync(transaction, closing, vm, cancel), cancel);
        return done;
    }

    /// <summary>One that something else is done with is deleted in a later round.</summary>
    async Task<bool> DeleteAsync(
        NpgsqlTransaction transaction, ClosingRow closing, string vm, CancellationToken cancel) =>
        await transaction.FindAsync<ClosingRow>(ClosingSql.Find, new { id = closing.Id }, cancel) is not null
        && (await ChangeVm.InAsync(transaction, VmActions.Delete, closing.Email, vm, "closing",
            "The account is being closed", settings, Time, cancel)).Problem is null;
}
