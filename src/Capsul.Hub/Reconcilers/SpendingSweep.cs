using Capsul.Foundation;
using Capsul.Hub.Features.SpendingLimits;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Microsoft.Extensions.Logging;

namespace Capsul.Hub.Reconcilers;

/// <summary>
/// A reconciler without input: emails people whose balance or usage has crossed what they have set, each in a
/// transaction of its own.
/// </summary>
public sealed class SpendingSweep(
    Db db, Fence fence, Settings settings, TimeProvider time, ILogger<SpendingSweep> log) : Sweep(fence, time, log)
{
    public static readonly TimeSpan Every = TimeSpan.FromMinutes(1);

    const int PageRows = 500;

    public override string Name => "Spending limits";

    protected override TimeSpan Pause => Every;

    /// <summary>Returns of how many accounts it noted something.</summary>
    public override async Task<int> LookAsync(long epoch, CancellationToken cancel)
    {
        var noted = 0;
        for (var after = ""; after is not null;)
        {
            var page = await db.ListAsync<string>(SpendingLimitSql.Due,
                new { after, now = Now, month = SetSpendingLimits.MonthOf(Now), limit = PageRows }, cancel);
            foreach (var email in page)
                noted += await TryAsync(epoch, email,
                    transaction => TellSpending.InAsync(transaction, email, settings, Time, cancel), cancel);
            after = page.Count == PageRows ? page[^1] : null;
        }
        return noted;
    }
}
