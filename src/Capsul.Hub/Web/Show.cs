using System.Globalization;

namespace Capsul.Hub.Web;

/// <summary>
/// Formats values for people. Times are UTC. Amounts are exact and only rounded for display: balances down to the cent,
/// costs up to the cent, so that the two always add up to what was paid.
/// </summary>
public static class Show
{
    /// <summary>A balance or a price.</summary>
    public static string Dollars(decimal amount)
    {
        var shown = decimal.Round(amount, 2, MidpointRounding.ToNegativeInfinity);
        return (shown < 0 ? "−$" : "$") + Math.Abs(shown).ToString("#,0.00", CultureInfo.InvariantCulture);
    }

    /// <summary>A price per hour: small, so with four decimal places, rounded up like costs.</summary>
    public static string Hourly(decimal dollarsPerHour) =>
        "$" + decimal.Round(dollarsPerHour, 4, MidpointRounding.ToPositiveInfinity)
            .ToString("0.0000", CultureInfo.InvariantCulture);

    /// <summary>How long money lasts, in words.</summary>
    public static string Days(decimal days) =>
        days < 1 ? "less than a day" : "about " + Count((long)days, "day", "days");

    /// <summary>A cost. Very small ones get more decimal places, so that they are visible at all.</summary>
    public static string Cost(decimal amount) => amount is > 0 and < 0.01m
        ? "$" + decimal.Round(amount, 4, MidpointRounding.ToPositiveInfinity)
            .ToString("0.0000", CultureInfo.InvariantCulture)
        : Dollars(decimal.Round(amount, 2, MidpointRounding.ToPositiveInfinity));

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
