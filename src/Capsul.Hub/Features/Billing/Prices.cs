using System.Globalization;

namespace Capsul.Hub.Features.Billing;

/// <summary>
/// Sums with prices. Dollars throughout; rounding is for showing only, and never in the payer's disfavour by surprise.
/// </summary>
public static class Prices
{
    /// <summary>365.25 days / 12, rounded to two places, as in the price list of the original.</summary>
    public const string DaysPerMonthText = "30.44";

    public static readonly decimal DaysPerMonth = decimal.Parse(DaysPerMonthText, CultureInfo.InvariantCulture);

    public static decimal PerDay(decimal dollarsPerMonth) => dollarsPerMonth / DaysPerMonth;

    public static decimal PerHour(decimal dollarsPerMonth) => PerDay(dollarsPerMonth) / 24;

    /// <summary>Down to the cent: what somebody has.</summary>
    public static decimal Floor(decimal dollars) => Math.Floor(dollars * 100) / 100;

    /// <summary>Up to the cent: what something costs.</summary>
    public static decimal Ceiling(decimal dollars) => Math.Ceiling(dollars * 100) / 100;
}
