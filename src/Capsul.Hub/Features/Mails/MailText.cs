using System.Reflection;
using System.Text.RegularExpressions;

namespace Capsul.Hub.Features.Mails;

/// <summary>
/// The texts of emails to customers: a file each in <c>Templates</c>, whose first line is the subject, with
/// placeholders in braces. Lines are joined to paragraphs; a blank line separates them.
/// </summary>
public static partial class MailText
{
    const string Prefix = "Templates.", Suffix = ".txt", SubjectMark = "Subject: ";

    static readonly Assembly Here = typeof(MailText).Assembly;

    public static IReadOnlyList<string> Names { get; } =
    [
        .. Here.GetManifestResourceNames()
            .Where(n => n.StartsWith(Prefix, StringComparison.Ordinal) && n.EndsWith(Suffix, StringComparison.Ordinal))
            .Select(n => n[Prefix.Length..^Suffix.Length]).Order(StringComparer.Ordinal),
    ];

    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="recipient">Email address.</param>
    /// <param name="values">By placeholder.</param>
    /// <exception cref="KeyNotFoundException">A placeholder has no value: a bug.</exception>
    public static Mail Write(string name, string recipient, IReadOnlyDictionary<string, string> values)
    {
        var text = Placeholder().Replace(Read(name), m => values[m.Groups["name"].Value]);
        var (subject, body) = text.IndexOf('\n', StringComparison.Ordinal) is var end and > 0
            ? (text[SubjectMark.Length..end], text[end..]) : (text, "");
        var paragraphs = body.Trim().Split("\n\n", StringSplitOptions.RemoveEmptyEntries)
            .Select(p => p.Replace('\n', ' ').Trim()).Where(p => p.Length > 0);
        return new Mail(recipient, subject, string.Join("\n\n", paragraphs) + "\n");
    }

    static string Read(string name)
    {
        using var stream = Here.GetManifestResourceStream(Prefix + name + Suffix)
            ?? throw new ArgumentException($"no template {name}", nameof(name));
        return new StreamReader(stream).ReadToEnd();
    }

    [GeneratedRegex(@"\{(?<name>[a-z]+)\}", RegexOptions.ExplicitCapture, 1000)]
    private static partial Regex Placeholder();
}
