using System.Net;
using System.Text;
using System.Text.RegularExpressions;

namespace Capsul.Hub.Features.Mails;

/// <summary>
/// The same email as plain HTML, for programs that show that first: paragraphs, and links that can be clicked. No
/// pictures, nothing that is fetched.
/// </summary>
public static partial class MailHtml
{
    public static string Write(string subject, string text)
    {
        var html = new StringBuilder("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>")
            .Append(WebUtility.HtmlEncode(subject)).Append("</title></head><body>\n");
        foreach (var paragraph in text.Trim().Split("\n\n", StringSplitOptions.RemoveEmptyEntries))
            html.Append("<p>").Append(Paragraph(paragraph)).Append("</p>\n");
        return html.Append("</body></html>\n").ToString();
    }

    static string Paragraph(string text)
    {
        var html = new StringBuilder();
        var from = 0;
        foreach (Match link in Link().Matches(text))
        {
            var address = WebUtility.HtmlEncode(link.Value);
            html.Append(Lines(text[from..link.Index])).Append($"<a href=\"{address}\">{address}</a>");
            from = link.Index + link.Length;
        }
        return html.Append(Lines(text[from..])).ToString();
    }

    static string Lines(string text) => WebUtility.HtmlEncode(text).Replace("\n", "<br>\n", StringComparison.Ordinal);

    /// <summary>An address, without the full stop that ends its sentence.</summary>
    [GeneratedRegex(@"https?://[^\s<>""]*[^\s<>"".,;:!?]", RegexOptions.None, 1000)]
    private static partial Regex Link();
}
