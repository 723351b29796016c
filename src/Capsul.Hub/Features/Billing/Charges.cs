namespace Capsul.Hub.Features.Billing;

/// <summary>
/// What an hour's usage comes to in whole units of the currency. This is the only place where usage is rounded: down,
/// and always the whole usage of an account since its beginning, so that what is left over is carried to the next hour.
/// Whatever the hours, corrections and restarts in between were, what has been posted until an hour is what a single
/// posting at its end would have been: less than one unit below the exact usage, and never above it.
/// </summary>
public static class Charges
{
    /// <summary>Seconds of the month that prices are for.</summary>
    public static readonly decimal SecondsPerMonth = Prices.DaysPerMonth * 86_400;

    /// <param name="Charged">What has been posted.</param>
    /// <param name="Before">Usage until the hour begins, as it is known now: dollars a month times seconds.</param>
    /// <param name="Until">The same until it ends.</param>
    public sealed record Facts(decimal Charged, decimal Before, decimal Until);

    /// <param name="Correction">Of earlier hours, which have been posted: their spans have changed since. May be below
    /// zero.</param>
    /// <param name="Usage">Of the hour itself.</param>
    public sealed record Posting(decimal Correction, decimal Usage);

    /// <param name="decimals">Decimal places of the currency.</param>
    public static Posting Decide(Facts facts, int decimals)
    {
        var before = Whole(facts.Before, decimals);
        return new Posting(before - facts.Charged, Whole(facts.Until, decimals) - before);
    }

    /// <summary>The smallest amount of a currency with so many decimal places.</summary>
    public static decimal Unit(int decimals) => new(1, 0, 0, isNegative: false, (byte)decimals);

    /// <summary>An exact usage (dollars a month times seconds) in whole units, rounded down.</summary>
    public static decimal Whole(decimal used, int decimals)
    {
        var unit = Unit(decimals);
        // By the remainder and not by a quotient, which would be rounded.
        var price = SecondsPerMonth * unit;
        return decimal.Round((used - used % price) / price * unit, decimals);
    }
}
