using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Payments;

/// <summary>Adding play money to an account, where it is offered.</summary>
public static class TopUp
{
    /// <summary>Dollars.</summary>
    public const decimal Least = 1, Most = 1000;

    public sealed record Facts(bool Development);

    public sealed record Plan(decimal Dollars);

    /// <param name="dollars">As typed: whole units, or with the decimal places of the currency.</param>
    public static Outcome<Plan> Decide(Facts facts, string? dollars)
    {
        if (!facts.Development)
            return new Problem(ProblemKind.Forbidden, "There is no play money on this site.");
        if (!decimal.TryParse(
            dollars?.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount))
            return Wrong($"Enter an amount such as {Show.Examples(Show.Currency.Decimals)}.");
        if (amount != decimal.Round(amount, Show.Currency.Decimals))
            return Wrong(Show.TooFine(Show.Currency.Decimals));
        return amount is >= Least and <= Most
            ? new Plan(amount)
            : Wrong($"Enter an amount from {Show.Dollars(Least)} to {Show.Dollars(Most)}.");
    }

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Dollars" };
}
