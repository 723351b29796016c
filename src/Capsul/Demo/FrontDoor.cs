using System.Net;
using System.Text.RegularExpressions;
using AngleSharp.Dom;
using AngleSharp.Html.Dom;
using AngleSharp.Html.Parser;
using Capsul.Foundation;

namespace Capsul.Demo;

/// <summary>
/// Uses a Hub like a person with a browser: loads pages, fills in their forms, follows redirects, keeps cookies. The
/// demo, the benchmarks and the tests of the whole system use only this.
/// </summary>
public sealed partial class FrontDoor : IDisposable
{
    const int MaxRedirects = 5;
    static readonly HtmlParser Parser = new();
    readonly HttpClient client;

    /// <param name="hub">Base URL of the pages.</param>
    /// <param name="from">The client address that the Hub sees, as if forwarded by a proxy on this machine; null: this
    /// machine.</param>
    public FrontDoor(Uri hub, string? from = null)
    {
        client = new HttpClient(new SocketsHttpHandler
        {
            CookieContainer = new CookieContainer(),
            UseProxy = false,
            AllowAutoRedirect = false,
        })
        {
            BaseAddress = hub,
            Timeout = TimeSpan.FromSeconds(30),
        };
        if (from is not null) client.DefaultRequestHeaders.Add("X-Forwarded-For", from);
    }

    /// <summary>A page as text; follows a few redirects.</summary>
    /// <exception cref="ProblemException">The Hub returned an error.</exception>
    public async Task<string> PageAsync(string path, CancellationToken cancel)
    {
        for (var hop = 0; hop < MaxRedirects; hop++)
        {
            using var response = await client.GetAsync(path, cancel);
            if (response.Headers.Location is not { } to || (int)response.StatusCode is < 300 or > 399)
                return await TextAsync(response, path, cancel);
            path = new Uri(new Uri(client.BaseAddress!, path), to).PathAndQuery;
        }
        throw new ProblemException(ProblemKind.Unavailable, $"{path}: more than {MaxRedirects} redirects.");
    }

    /// <summary>The same, parsed as a browser parses it.</summary>
    public async Task<IHtmlDocument> ReadAsync(string path, CancellationToken cancel) =>
        Parser.ParseDocument(await PageAsync(path, cancel));

    /// <summary>A form on a page: where it posts to, its element, and the page.</summary>
    public sealed record Form(string Action, IElement Element, IHtmlDocument Page);

    /// <summary>
    /// Loads a page and finds the form on it that posts to <paramref name="action"/>; one without an action posts to
    /// its own page.
    /// </summary>
    public async Task<Form> OpenFormAsync(string page, string action, CancellationToken cancel)
    {
        var html = await ReadAsync(page, cancel);
        var form = html.QuerySelectorAll("form[method=post]")
            .FirstOrDefault(f => (f.GetAttribute("action") ?? page) == action)
            ?? throw new ProblemException(
                ProblemKind.Unavailable, $"The page {page} has no form for {action}.", html.Body?.TextContent);
        return new Form(action, form, html);
    }

    /// <summary>
    /// Submits a form. Hidden fields that are not given keep their values. Returns the path of the Hub's redirect
    /// without following it; without a redirect, the response was the page with errors.
    /// </summary>
    public async Task<string> PostAsync(
        Form form, IEnumerable<KeyValuePair<string, string>> fields, CancellationToken cancel)
    {
        var given = fields.ToList();
        var hidden = form.Element.QuerySelectorAll("input[type=hidden][name]")
            .Select(i => KeyValuePair.Create(i.GetAttribute("name")!, i.GetAttribute("value") ?? ""))
            .Where(f => given.TrueForAll(g => g.Key != f.Key));
        using var content = new FormUrlEncodedContent([.. hidden, .. given]);
        using var response = await client.PostAsync(form.Action, content, cancel);
        if (response.StatusCode is HttpStatusCode.Redirect or HttpStatusCode.SeeOther
            && response.Headers.Location is { } to)
            return new Uri(client.BaseAddress!, to).PathAndQuery;
        await TextAsync(response, form.Action, cancel);
        return form.Action;
    }

    /// <summary>Loads a page, submits a form on it, and follows the redirect.</summary>
    public async Task SubmitAsync(
        string page, string action, IEnumerable<KeyValuePair<string, string>> fields, CancellationToken cancel)
    {
        var path = await PostAsync(await OpenFormAsync(page, action, cancel), fields, cancel);
        if (path != action || page != action) await PageAsync(path, cancel);
    }

    /// <summary>Requests a sign-in link, finds it on the development emails page, and follows it.</summary>
    public async Task SignInAsync(string email, CancellationToken cancel)
    {
        var link = await SignInLinkAsync(email, cancel);
        await PageAsync(link, cancel);
    }

    /// <summary>A sign-in link for <paramref name="email"/>, not followed yet.</summary>
    public async Task<string> SignInLinkAsync(string email, CancellationToken cancel)
    {
        await SubmitAsync("/sign-in", "/sign-in", [KeyValuePair.Create("Email", email)], cancel);
        var mails = await PageAsync("/development/mails", cancel);
        return SignInLink().Match(mails) is { Success: true } match
            ? match.Value
            : throw new ProblemException(ProblemKind.Unavailable,
                "The email with the sign-in link did not arrive.", mails);
    }

    static async Task<string> TextAsync(HttpResponseMessage response, string path, CancellationToken cancel)
    {
        var text = await response.Content.ReadAsStringAsync(cancel);
        if (response.IsSuccessStatusCode) return text;
        var says = Parser.ParseDocument(text).QuerySelector("[role=alert], main .lead")?.TextContent;
        var sentence = string.Join(
            ' ', (says ?? response.ReasonPhrase ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        throw new ProblemException(ProblemKind.Unavailable, $"{path}: {(int)response.StatusCode} {sentence}", text);
    }

    public void Dispose() => client.Dispose();

    [GeneratedRegex("/sign-in/[A-Za-z0-9_-]{16,}", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex SignInLink();
}
