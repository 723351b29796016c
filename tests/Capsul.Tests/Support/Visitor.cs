using System.Net;
using System.Text.RegularExpressions;

namespace Capsul.Tests.Support;

/// <summary>
/// A browser without scripts: keeps cookies, follows redirects, and submits forms with their hidden tokens.
/// </summary>
public sealed partial class Visitor : IDisposable
{
    readonly HttpClient client;

    public Visitor(WebHub hub, string? from = null)
    {
        client = new HttpClient(new SocketsHttpHandler { CookieContainer = Cookies, AllowAutoRedirect = true })
        {
            BaseAddress = hub.Address,
        };
        if (from is not null) client.DefaultRequestHeaders.Add("X-Forwarded-For", from);
    }

    public CookieContainer Cookies { get; } = new();

    public Task<HttpResponseMessage> GetAsync(string path, CancellationToken cancel) => client.GetAsync(path, cancel);

    public Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancel) =>
        client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel);

    public async Task<string> ReadAsync(string path, CancellationToken cancel)
    {
        using var answer = await GetAsync(path, cancel);
        return Plain(await answer.Content.ReadAsStringAsync(cancel));
    }

    /// <summary>Opens the page at a path, then posts its form there.</summary>
    public Task<HttpResponseMessage> PostAsync(
        string path, CancellationToken cancel, params (string Name, string Value)[] fields) =>
        PostAsync(path, path, cancel, fields);

    /// <summary>Opens the page <paramref name="from"/> for its token, then posts to another address.</summary>
    public async Task<HttpResponseMessage> PostAsync(
        string from, string to, CancellationToken cancel, params (string Name, string Value)[] fields)
    {
        using var page = await GetAsync(from, cancel);
        var token = Token().Match(await page.Content.ReadAsStringAsync(cancel)).Groups["value"].Value;
        using var form = new FormUrlEncodedContent(
            fields.Append(("form-token", token)).Select(f => KeyValuePair.Create(f.Item1, f.Item2)));
        return await client.PostAsync(to, form, cancel);
    }

    /// <summary>HTML with decoded entities, so that sentences can be compared.</summary>
    public static string Plain(string html) => WebUtility.HtmlDecode(html);

    public void Dispose() => client.Dispose();

    [GeneratedRegex("name=\"form-token\" type=\"hidden\" value=\"(?<value>[^\"]+)\"",
        RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Token();
}

public static class Answers
{
    /// <summary>Status and body of a response, for one comparison.</summary>
    public static async Task<(int Status, string Page)> ReadAsync(
        this Task<HttpResponseMessage> answer, CancellationToken cancel)
    {
        using var got = await answer;
        return ((int)got.StatusCode, Visitor.Plain(await got.Content.ReadAsStringAsync(cancel)));
    }
}
