using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Payments;

/// <summary>An amount of money as a person typed it.</summary>
static class TypedAmount
{
    /// <summary>Anything larger is a typo.</summary>
    const decimal UsualMost = 1_000_000;

    /// <param name="text">Such as 10 or 7.50.</param>
    /// <param name="decimals">Decimal places of the currency.</param>
    /// <param name="most">The largest that is taken.</param>
    public static Outcome<decimal> Parse(string? text, int decimals, decimal most = UsualMost) =>
        !decimal.TryParse(text?.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount)
            || amount <= 0 || amount > most
            ? Wrong($"Enter an amount such as {Show.Examples(decimals)}, up to {most:0}, without a currency.")
        : amount != decimal.Round(amount, decimals)
            ? Wrong(decimals == 0 ? "Enter a whole amount."
                : $"An amount has at most {Show.Count(decimals, "decimal place", "decimal places")}.")
        : amount;

    public static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Amount" };

    /// <summary>Rounded down to whole units of the currency.</summary>
    public static decimal Floor(decimal amount, int decimals) =>
        decimal.Round(amount, decimals, MidpointRounding.ToNegativeInfinity);
}
