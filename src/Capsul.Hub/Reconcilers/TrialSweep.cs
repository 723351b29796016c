using Capsul.Foundation;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: takes back trial credit that was not used in time, that of each account once.
/// </summary>
public sealed partial class TrialSweep(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<TrialSweep> log) : IActingWork
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(5);

    const int PageRows = 200;

    public string Name => "Trial credit";

    DateTime Now => time.GetUtcNow().UtcDateTime;

    public async Task RunAsync(long epoch, CancellationToken cancel)
    {
        while (!cancel.IsCancellationRequested)
        {
            await LookAsync(epoch, cancel);
            await Task.Delay(Every, time, cancel);
        }
    }

    /// <summary>One round; returns how many lapsed.</summary>
    public async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var lapsed = 0;
        for (long? after = 0; after is not null;)
        {
            var page = await db.ListAsync<long>(TrialSql.Due, new { now = Now, after, limit = PageRows }, cancel);
            foreach (var id in page) lapsed += await TryAsync(epoch, id, cancel);
            after = page.Count == PageRows ? page[^1] : null;
        }
        return lapsed;
    }

    async Task<int> TryAsync(long epoch, long id, CancellationToken cancel)
    {
        try
        {
            return await fence.InTransactionAsync(epoch, transaction =>
                LapseTrial.InAsync(transaction, id, settings, Now, cancel), cancel) ? 1 : 0;
        }
        catch (PostgresException error)
        {
            Log.Failed(log, error, id);
            return 0;
        }
    }

    static partial class Log
    {
        [LoggerMessage(EventId = 3530, Level = LogLevel.Error, Message = "Lapsing trial credit {Id} failed")]
        public static partial void Failed(ILogger log, Exception error, long id);
    }
}
