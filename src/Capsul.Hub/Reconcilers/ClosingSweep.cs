using Capsul.Foundation;
using Capsul.Hub.Features.Closings;
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
/// moment goes on where it was. Years later, the names on the receipts go.
/// </summary>
public sealed partial class ClosingSweep(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<ClosingSweep> log) : IActingWork
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    const int PageRows = 100;

    public string Name => "Closing accounts";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One round; returns how many steps it took.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var done = 0;
        for (long? after = 0; after is not null;)
        {
            var page = await db.ListAsync<ClosingRow>(
                ClosingSql.Due, new { now = Now, after, limit = PageRows }, cancel);
            foreach (var closing in page) done += await StepAsync(epoch, closing, cancel);
            after = page.Count == PageRows ? page[^1].Id : null;
        }
        foreach (var id in await db.ListAsync<long>(ClosingSql.ToForget, new { now = Now, limit = PageRows }, cancel))
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
            "The account is being closed", settings, time, cancel)).Problem is null;

    async Task<int> TryAsync(
        long epoch, string subject, Func<NpgsqlTransaction, Task<bool>> work, CancellationToken cancel)
    {
        try
        {
            return await fence.InTransactionAsync(epoch, work, cancel) ? 1 : 0;
        }
        catch (PostgresException error)
        {
            Log.Failed(log, error, subject);
            return 0;
        }
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3510, Level = LogLevel.Error, Message = "Closing an account: {Subject} failed")]
        public static partial void Failed(ILogger log, Exception error, string subject);
    }
}
