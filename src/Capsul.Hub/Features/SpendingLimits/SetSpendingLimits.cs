using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.SpendingLimits;

/// <summary>
/// A person says what a month may cost, and when to be emailed. What is already so when it is set is no crossing: it is
/// on the page.
/// </summary>
public static class SetSpendingLimits
{
    /// <summary>All as typed; empty: none.</summary>
    public sealed record Input(string? MonthlyCap, string? BalanceBelow, string? UsageAbove);

    public sealed record Plan(decimal? MonthlyCap, decimal? BalanceBelow, decimal? UsageAbove)
    {
        public bool IsEmpty => MonthlyCap is null && BalanceBelow is null && UsageAbove is null;
    }

    /// <param name="decimals">Decimal places of the currency.</param>
    public static Outcome<Plan> Decide(Input input, int decimals)
    {
        if (Read("MonthlyCap", input.MonthlyCap, decimals, out var cap) is { } wrongCap) return wrongCap;
        if (Read("BalanceBelow", input.BalanceBelow, decimals, out var balance) is { } wrongBalance)
            return wrongBalance;
        return Read("UsageAbove", input.UsageAbove, decimals, out var usage) is { } wrong
            ? wrong : new Plan(cap, balance, usage);
    }

    static Problem? Read(string field, string? text, int decimals, out decimal? amount)
    {
        amount = null;
        if (string.IsNullOrWhiteSpace(text)) return null;
        if (TypedAmount.Parse(text, decimals).Refused(out var problem, out var read))
            return problem with { Field = field };
        amount = read;
        return null;
    }

    /// <summary>When a month of the calendar begins, UTC.</summary>
    public static DateTime MonthOf(DateTime now) => new(now.Year, now.Month, 1, 0, 0, 0, DateTimeKind.Utc);

    public static Task<Outcome<Plan>> RunAsync(
        Db db, Settings settings, string email, Input input, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<Plan>(async transaction =>
        {
            if (Decide(input, settings.Currency.Decimals).Refused(out var problem, out var plan)) return problem;
            var now = time.GetUtcNow().UtcDateTime;
            var month = MonthOf(now);
            // A create that is being decided goes by the cap before, or by this one.
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var row = await transaction.AskAsync<SpendingLimitRow>(
                SpendingLimitSql.Find, new { email, now, month }, cancel);
            if (plan.IsEmpty)
                await transaction.ExecuteAsync(SpendingLimitSql.Remove, new { email }, cancel);
            else
                await transaction.ExecuteAsync(SpendingLimitSql.Set, new
                {
                    email,
                    plan.MonthlyCap,
                    plan.BalanceBelow,
                    plan.UsageAbove,
                    // Of what stays as it was, an email may still have to be sent.
                    balanceTold = plan.BalanceBelow == row.BalanceBelow ? row.BalanceTold
                        : row.Balance.Balance < plan.BalanceBelow ? now : (DateTime?)null,
                    usageTold = plan.UsageAbove == row.UsageAbove ? row.UsageTold
                        : row.MonthUsed > plan.UsageAbove ? month : (DateTime?)null,
                }, cancel);
            await transaction.AuditAsync(email, "set_spending_limits", email, string.Create(
                CultureInfo.InvariantCulture, $"cap {plan.MonthlyCap}, balance below {plan.BalanceBelow}, "
                    + $"usage above {plan.UsageAbove}"), cancel);
            return plan;
        }, cancel);
}
