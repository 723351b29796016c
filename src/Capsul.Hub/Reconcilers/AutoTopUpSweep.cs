using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: writes down a charge of the saved card of each account that is below its threshold, each
/// in a transaction of its own. What asks the providers about all payments makes it.
/// </summary>
public sealed partial class AutoTopUpSweep(
    Db db, Fence fence, PaymentProviders providers, TimeProvider time, ILogger<AutoTopUpSweep> log) : IActingWork
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    const int PageRows = 500;

    public string Name => "Automatic top-up";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>Returns how many charges it wrote down.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
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
                if (await TryAsync(epoch, email, cancel)) charges++;
            after = page.Count == PageRows ? page[^1] : null;
        }
        return charges;
    }

    async Task<bool> TryAsync(long epoch, string email, CancellationToken cancel)
    {
        try
        {
            return await fence.InTransactionAsync(
                epoch, transaction => ChargeCard.InAsync(transaction, email, Now, cancel), cancel) is not null;
        }
        catch (PostgresException error)
        {
            Log.Failed(log, error, email);
            return false;
        }
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3540, Level = LogLevel.Error, Message = "Charging the card of {Email} failed")]
        public static partial void Failed(ILogger log, Exception error, string email);
    }
}
