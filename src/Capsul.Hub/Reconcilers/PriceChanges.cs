using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Leadership;
using Capsul.Postgres;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: gives VMs the price of their size when it comes into force, one line after the other, a
/// number of VMs in one transaction. It wakes at that moment; if no Hub was active then, the next one does it, from the
/// same moment on.
/// </summary>
public sealed class PriceChanges(Db db, Fence fence, TimeProvider time) : IActingWork
{
    /// <summary>Another Hub may announce a price meanwhile.</summary>
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    /// <summary>VMs in one transaction, which locks them and their accounts' totals.</summary>
    const int PieceRows = 500;

    public string Name => "Price changes";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(await PauseAsync(cancel), time, cancel);
        }
    }

    /// <summary>Gives all VMs the prices that are in force; returns how many got another one.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var changed = 0;
        while (await db.FindAsync<PriceRow>(PriceSql.Due, new { now = Now }, cancel) is { } price)
        {
            changed += price.Size == Prices.FurtherAddress ? await SweepExtrasAsync(epoch, price, cancel)
                : await SweepAsync(epoch, price, RepriceVmsSql.Behind, cancel);
            if (price.Applied is not null) continue;
            if (price.Size != Prices.FurtherAddress)
                changed += await SweepAsync(epoch, price, RepriceVmsSql.DeletedSince, cancel);
            await fence.ExecuteAsync(epoch, PriceSql.MarkApplied, new { id = price.Id, now = Now }, cancel);
        }
        return changed;
    }

    async Task<int> SweepAsync(long epoch, PriceRow price, string sql, CancellationToken cancel)
    {
        var changed = 0;
        while (true)
        {
            var ids = (await db.ListAsync<string>(
                sql, new { size = price.Size, from = price.ActiveFrom, limit = PieceRows }, cancel)).ToArray();
            if (ids.Length == 0) return changed;
            changed += await fence.InTransactionAsync(epoch, transaction => RepriceVms.RunAsync(
                transaction, ids, price.DollarsPerMonth, price.ActiveFrom, cancel), cancel);
        }
    }

    async Task<int> SweepExtrasAsync(long epoch, PriceRow price, CancellationToken cancel)
    {
        var changed = 0;
        while (true)
        {
            var ids = (await db.ListAsync<long>(RepriceExtrasSql.Behind,
                new { size = price.Size, from = price.ActiveFrom, limit = PieceRows }, cancel)).ToArray();
            if (ids.Length == 0) return changed;
            changed += await fence.InTransactionAsync(epoch, transaction => RepriceExtras.RunAsync(
                transaction, ids, price.DollarsPerMonth, price.ActiveFrom, cancel), cancel);
        }
    }

    async Task<TimeSpan> PauseAsync(CancellationToken cancel)
    {
        var next = await db.FindAsync<DateTime?>(PriceSql.Next, new { now = Now }, cancel) - Now;
        return next < Every ? next.Value > TimeSpan.Zero ? next.Value : TimeSpan.Zero : Every;
    }
}
