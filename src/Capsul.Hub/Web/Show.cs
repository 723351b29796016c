using System.Globalization;

namespace Capsul.Hub.Web;

/// <summary>
/// Formats values for people. Times are UTC. Amounts are exact and only rounded for display: balances down to the cent,
/// costs up to the cent, so that the two always add up to what was paid.
/// </summary>
public static class Show
{
    /// <summary>
    /// Of the installation's one currency, and the decimal places of its smallest unit. Set once, when the Hub starts.
    /// </summary>
    public static (string Symbol, int Decimals) Currency { get; set; } = ("$", 2);

    /// <summary>A balance or a price.</summary>
    public static string Dollars(decimal amount)
    {
        var shown = decimal.Round(amount, Currency.Decimals, MidpointRounding.ToNegativeInfinity);
        return (shown < 0 ? "−" : "") + Currency.Symbol
            + Math.Abs(shown).ToString("N" + Currency.Decimals, CultureInfo.InvariantCulture);
    }

    /// <summary>For a table or another program: without the symbol, with the decimal places of the currency.</summary>
    public static string Plain(decimal amount) =>
        amount.ToString("F" + Currency.Decimals, CultureInfo.InvariantCulture);

    /// <summary>Amounts that people could type.</summary>
    public static string Examples(int decimals) => decimals == 0 ? "10 or 750" : "10 or 7.50";

    /// <summary>Refuses an amount that is finer than the smallest unit.</summary>
    public static string TooFine(int decimals) => decimals switch
    {
        0 => "Enter a whole amount.",
        2 => "An amount has at most two decimal places.",
        _ => $"An amount has at most {Count(decimals, "decimal place", "decimal places")}.",
    };

    /// <summary>A price per hour: small, so with two more decimal places, rounded up like costs.</summary>
    public static string Hourly(decimal dollarsPerHour) => Finely(dollarsPerHour);

    /// <summary>The exact cost of a part of a statement, to a ten-thousandth of the smallest unit.</summary>
    public static string Exactly(decimal amount) =>
        Currency.Symbol + amount.ToString("N" + (Currency.Decimals + 4), CultureInfo.InvariantCulture);

    static string Finely(decimal amount) => Currency.Symbol
        + decimal.Round(amount, Currency.Decimals + 2, MidpointRounding.ToPositiveInfinity)
            .ToString("F" + (Currency.Decimals + 2), CultureInfo.InvariantCulture);

    /// <summary>How long money lasts, in words.</summary>
    public static string Days(decimal days) =>
        days < 1 ? "less than a day" : "about " + Count((long)days, "day", "days");

    /// <summary>A cost. Very small ones get more decimal places, so that they are visible at all.</summary>
    public static string Cost(decimal amount)
    {
        var whole = decimal.Round(amount, Currency.Decimals, MidpointRounding.ToPositiveInfinity);
        return amount > 0 && decimal.Round(amount, Currency.Decimals, MidpointRounding.ToZero) == 0 && amount < whole
            ? Finely(amount) : Dollars(whole);
    }

    public static string Date(DateTime time) => time.ToString("d MMM yyyy", CultureInfo.InvariantCulture);

    public static string Time(DateTime time) => time.ToString("d MMM yyyy, HH:mm 'UTC'", CultureInfo.InvariantCulture);

    public static string Clock(DateTime time) => time.ToString("HH:mm:ss", CultureInfo.InvariantCulture);

    /// <summary>For the <c>datetime</c> attribute.</summary>
    public static string Machine(DateTime time) =>
        time.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);

    /// <summary>MiB below one GiB, then GiB with one digit.</summary>
    public static string Bytes(long bytes) => bytes < 1L << 30
        ? $"{(bytes + (1 << 20) - 1) >> 20} MiB"
        : string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1 << 30):0.0} GiB");

    public static string Memory(int mb) => mb % 1024 == 0
        ? (mb / 1024).ToString(CultureInfo.InvariantCulture) + " GiB"
        : mb.ToString(CultureInfo.InvariantCulture) + " MiB";

    public static string Count(long number, string one, string many) =>
        number.ToString("#,0", CultureInfo.InvariantCulture) + " " + (number == 1 ? one : many);

    /// <summary>A length of time in its two largest units.</summary>
    public static string Span(TimeSpan span) => span switch
    {
        { TotalSeconds: < 60 } => $"{Math.Max(0, (int)span.TotalSeconds)} s",
        { TotalMinutes: < 60 } => $"{(int)span.TotalMinutes} min {span.Seconds} s",
        { TotalHours: < 48 } => $"{(int)span.TotalHours} h {span.Minutes} min",
        _ => Count((long)span.TotalDays, "day", "days"),
    };
}
