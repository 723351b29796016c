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

    /// <summary>
    /// How a bench ends: its figures and the verdict are the last line. Bars are upper limits as often as lower ones.
    /// </summary>
    /// <returns>The exit code: 1 with --check when a bar was missed.</returns>
    public static int Verdict(bool check, bool good, string figures)
    {
        Console.WriteLine($"{figures}: {(good ? "ok" : "MISSED THE BAR")}");
        return good || !check ? 0 : 1;
    }

    public static string Text(double value, string format = "0.00") =>
        value.ToString(format, CultureInfo.InvariantCulture);
}
