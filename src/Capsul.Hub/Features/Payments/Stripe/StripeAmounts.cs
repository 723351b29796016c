namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>
/// Amounts as Stripe has them: whole numbers of the smallest unit of a currency.
/// (https://docs.stripe.com/currencies#zero-decimal)
/// </summary>
public static class StripeAmounts
{
    static readonly HashSet<string> WithoutDecimals = new(StringComparer.OrdinalIgnoreCase)
    {
        "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF",
    };

    static readonly HashSet<string> WithThreeDecimals = new(StringComparer.OrdinalIgnoreCase)
    {
        "BHD", "JOD", "KWD", "OMR", "TND",
    };

    static decimal UnitsOf(string currency) => WithoutDecimals.Contains(currency) ? 1
        : WithThreeDecimals.Contains(currency) ? 1000 : 100;

    /// <summary>Null: the amount is no whole number of units.</summary>
    public static long? ToUnits(decimal amount, string currency)
    {
        var units = amount * UnitsOf(currency);
        return units == decimal.Truncate(units) && units is > 0 and < 1_000_000_000_000 ? (long)units : null;
    }

    public static decimal FromUnits(long units, string currency) => units / UnitsOf(currency);
}
