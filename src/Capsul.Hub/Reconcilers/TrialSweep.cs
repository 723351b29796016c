using Capsul.Foundation;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Trials;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: takes back trial credit that was not used in time, that of each account once. In
/// time is by the trusted time (<see cref="DunningSql.Trusted"/>).
/// </summary>
public sealed class TrialSweep(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<TrialSweep> log) : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(5);

    const int PageRows = 200;

    public override string Name => "Trial credit";

    protected override TimeSpan Pause => Every;

    /// <summary>One round; returns how many lapsed.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var (lapsed, trusted) = (0, await db.AskAsync<DateTime>(DunningSql.Trusted, new { now = Now }, cancel));
        for (long? after = 0; after is not null;)
        {
            var page = await db.ListAsync<long>(TrialSql.Due, new { now = trusted, after, limit = PageRows }, cancel);
            foreach (var id in page)
                lapsed += await TryAsync(epoch, $"credit {id}", transaction =>
                    LapseTrial.InAsync(transaction, id, settings, Now, cancel), cancel);
            after = page.Count == PageRows ? page[^1] : null;
        }
        return lapsed;
    }
}
