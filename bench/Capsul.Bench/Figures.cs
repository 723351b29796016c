using System.Globalization;

namespace Capsul.Bench;

/// <summary>Order statistics of a few measured values.</summary>
static class Figures
{
    public static double Median(IReadOnlyList<double> values) => Percentile(values, 50);

    /// <summary>
    /// Nearest rank: the smallest value that at least <paramref name="percent"/> of all do not exceed.
    /// </summary>
    public static double Percentile(IReadOnlyList<double> values, double percent)
    {
        var sorted = values.Order().ToList();
        return sorted[Math.Clamp((int)Math.Ceiling(percent / 100 * sorted.Count) - 1, 0, sorted.Count - 1)];
    }

    /// <summary>How a bench ends; bars are upper limits as often as lower ones.</summary>
    public static string Verdict(bool good) => good ? "ok" : "MISSED THE BAR";

    public static string Text(double value, string format = "0.00") =>
        value.ToString(format, CultureInfo.InvariantCulture);
}
