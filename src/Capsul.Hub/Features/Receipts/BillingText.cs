using System.Text;

namespace Capsul.Hub.Features.Receipts;

/// <summary>Names and addresses that people type, as they are kept: without control characters.</summary>
public static class BillingText
{
    public static string Line(string? text) =>
        string.Join(' ', Clean(text).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));

    /// <summary>Several lines; empty ones are left out.</summary>
    public static string Lines(string? text) => string.Join('\n', (text ?? "").Split('\n').Select(Line)
        .Where(l => l.Length > 0));

    static string Clean(string? text)
    {
        var kept = new StringBuilder();
        foreach (var c in text ?? "") kept.Append(char.IsControl(c) ? ' ' : c);
        return kept.ToString();
    }
}
