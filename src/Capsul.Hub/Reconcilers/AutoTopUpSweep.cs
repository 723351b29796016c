using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: writes down a charge of the saved card of each account that is below its threshold, each
/// in a transaction of its own. What asks the providers about all payments makes it.
/// </summary>
public sealed class AutoTopUpSweep(
    Db db, Fence fence, PaymentProviders providers, TimeProvider time, ILogger<AutoTopUpSweep> log)
    : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    const int PageRows = 500;

    public override string Name => "Automatic top-up";

    protected override TimeSpan Pause => Every;

    /// <summary>Returns how many charges it wrote down.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var (offered, charges) = (providers.SavingCards.ToArray(), 0);
        if (offered.Length == 0) return 0;
        for (var after = ""; after is not null;)
        {
            var page = await db.ListAsync<string>(AutoTopUpSql.Due, new
            {
                after,
                now = Now,
                lastBefore = Now - ChargeCard.Apart,
                providers = offered,
                limit = PageRows,
            }, cancel);
            foreach (var email in page)
                charges += await TryAsync(epoch, email, async transaction =>
                    await ChargeCard.InAsync(transaction, email, Now, cancel) is not null, cancel);
            after = page.Count == PageRows ? page[^1] : null;
        }
        return charges;
    }
}
