using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>What people type about money of the fund.</summary>
static class FundAmount
{
    /// <summary>Anything larger is a typo.</summary>
    const decimal Most = 1_000_000;

    /// <param name="text">Such as 10 or 7.50.</param>
    /// <param name="decimals">Decimal places of the currency.</param>
    public static Outcome<decimal> Parse(string? text, int decimals) =>
        !decimal.TryParse(text?.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount)
            || amount <= 0 || amount > Most
            ? Wrong($"Enter an amount such as 10 or 7.50, up to {Most:0}, without a currency.")
        : amount != decimal.Round(amount, decimals)
            ? Wrong(decimals == 0 ? "Enter a whole amount."
                : $"An amount has at most {Show.Count(decimals, "decimal place", "decimal places")}.")
        : amount;

    public static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Amount" };

    /// <summary>Rounded down to whole units of the currency.</summary>
    public static decimal Floor(decimal amount, int decimals) =>
        decimal.Round(amount, decimals, MidpointRounding.ToNegativeInfinity);
}
