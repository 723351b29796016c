using System.Globalization;

namespace Capsul.Hub.Features.Billing;

/// <summary>Price arithmetic, in dollars. Amounts are rounded for display only.</summary>
public static class Prices
{
    /// <summary>365.25 days / 12, rounded to two places, as in the original's price list.</summary>
    public const string DaysPerMonthText = "30.44";

    /// <summary>What a price line of further IPv4 addresses has as its size, and their extras as their kind.</summary>
    public const string FurtherAddress = "ipv4-address";

    public static readonly decimal DaysPerMonth = decimal.Parse(DaysPerMonthText, CultureInfo.InvariantCulture);

    public static decimal PerDay(decimal dollarsPerMonth) => dollarsPerMonth / DaysPerMonth;

    public static decimal PerHour(decimal dollarsPerMonth) => PerDay(dollarsPerMonth) / 24;

    /// <summary>Rounds down to the cent: for balances.</summary>
    public static decimal Floor(decimal dollars) => Math.Floor(dollars * 100) / 100;

    /// <summary>Rounds up to the cent: for costs.</summary>
    public static decimal Ceiling(decimal dollars) => Math.Ceiling(dollars * 100) / 100;
}
