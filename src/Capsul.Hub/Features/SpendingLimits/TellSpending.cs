using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.SpendingLimits;

/// <summary>
/// Tells a person that their balance has fallen below what they have set, or that the usage of this month has exceeded
/// it: each once, until it is over. The email and the note that it was written are one transaction.
/// </summary>
public static class TellSpending
{
    /// <summary>What is written, and what is noted.</summary>
    public sealed record Plan(bool OfBalance, bool OfUsage, DateTime? BalanceTold, DateTime? UsageTold);

    /// <param name="month">The beginning of this month.</param>
    public static Plan Decide(SpendingLimitRow row, DateTime month, DateTime now)
    {
        var isBelow = row.Balance.Balance < row.BalanceBelow;
        var exceeds = row.MonthUsed > row.UsageAbove;
        return new Plan(isBelow && row.BalanceTold is null, exceeds && row.UsageTold != month,
            isBelow ? row.BalanceTold ?? now : null, exceeds ? month : row.UsageTold);
    }

    /// <summary>In the caller's fenced transaction; false: there was nothing to do.</summary>
    public static async Task<bool> InAsync(NpgsqlTransaction transaction, string email, Settings settings,
        TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        var month = SetSpendingLimits.MonthOf(now);
        if (await transaction.FindAsync<SpendingLimitRow>(SpendingLimitSql.Lock, new { email, now, month }, cancel)
            is not { } row)
            return false;
        var plan = Decide(row, month, now);
        if (plan.BalanceTold == row.BalanceTold && plan.UsageTold == row.UsageTold) return false;
        await transaction.ExecuteAsync(
            SpendingLimitSql.Note, new { email, plan.BalanceTold, plan.UsageTold }, cancel);
        var outbox = new Outbox(time);
        if (plan.OfBalance) await outbox.EnqueueAsync(transaction, OfBalance(email, row, settings), cancel);
        if (plan.OfUsage) await outbox.EnqueueAsync(transaction, OfUsage(email, row, settings), cancel);
        return true;
    }

    public static Mail OfBalance(string email, SpendingLimitRow row, Settings settings) =>
        MailText.Write("balance_alert", email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["balance"] = Show.Dollars(row.Balance.Balance),
            ["limit"] = Show.Dollars(row.BalanceBelow ?? 0),
            ["add"] = Site.Link(settings, "/balance").ToString(),
            ["link"] = Site.Link(settings, "/balance/limits").ToString(),
        });

    public static Mail OfUsage(string email, SpendingLimitRow row, Settings settings) =>
        MailText.Write("usage_alert", email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["used"] = Show.Cost(row.MonthUsed),
            ["limit"] = Show.Dollars(row.UsageAbove ?? 0),
            ["balance"] = Show.Dollars(row.Balance.Balance),
            ["see"] = Site.Link(settings, "/balance").ToString(),
            ["link"] = Site.Link(settings, "/balance/limits").ToString(),
        });
}
