using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Alerts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Hosts;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: compares the counters of accounts, VMs and hosts, which triggers keep, with the rows
/// that they count, and corrects them. A wrong one is a bug, or somebody disabled a trigger, so it raises an alert.
/// </summary>
public sealed class CounterCheck(Fence fence, Settings settings, TimeProvider time) : IActingWork
{
    static readonly TimeSpan Every = TimeSpan.FromHours(1);

    /// <summary>Accounts or hosts in one transaction, which locks their counters.</summary>
    const int PieceRows = 100;

    public string Name => "Counter check";

    /// <summary>How many were wrong.</summary>
    public sealed record Wrong(int Accounts, int Vms, int Hosts)
    {
        public bool Any => Accounts + Vms + Hosts > 0;

        public string Message => string.Create(CultureInfo.InvariantCulture,
            $"The counters of {Accounts} accounts, {Vms} VMs and {Hosts} hosts were wrong. They have been corrected.");
    }

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One round through everything.</summary>
    public async Task<Wrong> LookAsync(long epoch, CancellationToken cancel)
    {
        var wrong = new Wrong(0, 0, 0);
        while (await fence.ExecuteAsync(epoch, BillingSql.AddMissing, new { limit = PieceRows }, cancel)
            is > 0 and var missing)
            wrong = wrong with { Accounts = wrong.Accounts + missing };
        await InPiecesAsync(epoch, BillingSql.LockNext, async (transaction, emails) => wrong = wrong with
        {
            Vms = wrong.Vms + await transaction.AskAsync<int>(BillingSql.CorrectVms, new { emails }, cancel),
            Accounts = wrong.Accounts
                + await transaction.AskAsync<int>(BillingSql.CorrectAccounts, new { emails }, cancel),
        }, cancel);
        await InPiecesAsync(epoch, HostSql.LockNext, async (transaction, ids) => wrong = wrong with
        {
            Hosts = wrong.Hosts + await transaction.AskAsync<int>(HostSql.CorrectCounters, new { ids }, cancel),
        }, cancel);
        await TellAsync(wrong, epoch, cancel);
        return wrong;
    }

    /// <summary>
    /// Takes a piece after the other, each in its own transaction. Rows are counted in a separate statement after the
    /// lock, which then sees all that has been added to the counters.
    /// </summary>
    async Task InPiecesAsync(
        long epoch, string lockNext, Func<NpgsqlTransaction, string[], Task> correct, CancellationToken cancel)
    {
        for (var after = ""; after is not null;)
            after = await fence.InTransactionAsync(epoch, async transaction =>
            {
                var piece = await transaction.ListAsync<string>(lockNext, new { after, limit = PieceRows }, cancel);
                if (piece.Count > 0) await correct(transaction, [.. piece]);
                return piece.Count == PieceRows ? piece[^1] : null;
            }, cancel);
    }

    Task TellAsync(Wrong wrong, long epoch, CancellationToken cancel) =>
        fence.InTransactionAsync(epoch, async transaction =>
        {
            if (wrong.Any)
                await RaiseAlert.InAsync(
                    transaction, settings, RaiseAlert.CountersWrong, "", wrong.Message, time, cancel);
            else
                await RaiseAlert.ClearAsync(transaction, RaiseAlert.CountersWrong, "", time, cancel);
            return true;
        }, cancel);
}
