using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: compares what each provider lists with the database once a day, and keeps what it found
/// for the public page of the ledger. Without an answer, and after a new difference, it asks again after an hour: what
/// was paid at that moment is no difference then. It puts nothing right; that takes a person.
/// </summary>
public sealed class ProviderCheck(
    Db db, Fence fence, Settings settings, PaymentProviders providers, TimeProvider time, ILogger<ProviderCheck> log)
    : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(5), Daily = TimeSpan.FromDays(1),
        Soon = TimeSpan.FromHours(1), Window = TimeSpan.FromDays(30);

    public override string Name => "Provider totals";

    protected override TimeSpan Pause => Every;

    /// <summary>Returns how many providers it asked.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var asked = 0;
        foreach (var provider in providers.All)
        {
            if (!await db.AskAsync<bool>(ProviderTotalSql.IsDue,
                new { provider = provider.Name, now = Now, daily = Now - Daily, soon = Now - Soon }, cancel))
                continue;
            var since = Now - Window;
            var found = await ReconcileProvider.RunAsync(
                db, settings, provider, since, import: false, Name, Time, cancel);
            asked += await TryAsync(epoch, provider.Name, async transaction => await ReconcileProvider.RecordAsync(
                transaction, provider.Name, since, found, Now, cancel) > 0, cancel);
        }
        return asked;
    }
}
