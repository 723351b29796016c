using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.SpendingLimits;

/// <summary>
/// Whether more may be spent: what is there goes on, so the cap is looked at when something new is to cost money.
/// </summary>
public static class SpendingCap
{
    /// <summary>Parameters of <see cref="SpendingLimitSql.Cap"/>.</summary>
    internal static object Of(string email, DateTime now)
    {
        var month = SetSpendingLimits.MonthOf(now);
        return new { email, now, month, nextMonth = month.AddMonths(1) };
    }

    /// <summary>The refusal, or null.</summary>
    /// <param name="cap">What the owner has set; null: nothing.</param>
    /// <param name="dollarsPerMonth">What everything costs with the new thing.</param>
    /// <param name="what">The new thing, in a sentence: capsul, address.</param>
    public static Problem? Check(SpendingCapRow? cap, decimal dollarsPerMonth, string what)
    {
        if (cap is null) return null;
        var month = cap.Used + dollarsPerMonth * cap.RestSeconds / Charges.SecondsPerMonth;
        return month <= cap.Cap ? null : new(ProblemKind.Conflict,
            $"With this {what}, this month would cost {Show.Cost(month)}, and you have set that it may cost "
                + $"{Show.Dollars(cap.Cap)}. To change that: Balance, Spending limits.");
    }
}
