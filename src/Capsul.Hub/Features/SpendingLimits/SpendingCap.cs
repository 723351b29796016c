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
        // What begins late in a month costs all of the next one.
        if (month <= cap.Cap && dollarsPerMonth <= cap.Cap) return null;
        var says = month > cap.Cap ? $"this month would cost {Show.Cost(month)}"
            : $"a month would cost {Show.Dollars(dollarsPerMonth)}";
        return new(ProblemKind.Conflict, $"With this {what}, {says}, and you have set that it may cost "
            + $"{Show.Dollars(cap.Cap)}. To change that: Balance, Spending limits.");
    }
}
