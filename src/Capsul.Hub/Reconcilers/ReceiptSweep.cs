using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: makes what follows from receipts that were given to somebody. A payment that ceased to
/// count gets its credit note, one that counts again another receipt, and what counts in its place a receipt of its
/// own: each payment in a transaction, and each transaction of the ledger once.
/// </summary>
public sealed class ReceiptSweep(
    Db db, Fence fence, TimeProvider time, ILogger<ReceiptSweep> log) : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    /// <summary>What follows from what follows.</summary>
    const int MaxRounds = 100;

    const int PageRows = 200;

    const string Actor = "receipts";

    public override string Name => "Receipts";

    protected override TimeSpan Pause => Every;

    /// <summary>Returns of how many payments it made receipts.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var (all, round) = (0, 1);
        for (var n = 0; round > 0 && n < MaxRounds; n++) all += round = await RoundAsync(epoch, cancel);
        return all;
    }

    async Task<int> RoundAsync(long epoch, CancellationToken cancel)
    {
        var made = 0;
        for (int? after = 0; after is not null;)
        {
            var page = await db.ListAsync<DueReceiptRow>(ReceiptSql.Due, new { after, limit = PageRows }, cancel);
            foreach (var due in page)
                made += await TryAsync(epoch, $"payment {due.Id}", async transaction => await IssueReceipt.InAsync(
                    transaction, Actor, due.Email, due.Id, Now, cancel) is { Problem: null, Value: > 0 },
                    cancel);
            after = page.Count == PageRows ? page[^1].Id : null;
        }
        return made;
    }
}
