using System.Text.Json;
using Capsul.Foundation;

namespace Capsul.Cli;

/// <summary>
/// Whether people can reach the pages at the public address, and whether the proxy tells the Hub that they use TLS:
/// without that, cookies are rejected and all clients share one address for rate limits.
/// </summary>
static class DoctorPages
{
    const string Address = "base URL", Proxy = "proxy";
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    public static async Task<IReadOnlyList<Finding>> RunAsync(Settings settings, CancellationToken cancel)
    {
        if (settings.BaseUrl is not { } url)
        {
            return [settings.Development
                ? new(Verdict.Ok, Address, "the pages are on this machine only")
                : new(Verdict.Warn, Address, "CAPSUL_BASE_URL is not set: links in emails lead to this machine only")];
        }
        if (url.Scheme != "https" && !url.IsLoopback)
            return [new(Verdict.Fail, Address,
                $"{url} is not https: cookies are sent over TLS only, so nobody can sign in")];
        using var client = new HttpClient { Timeout = Limit };
        try
        {
            var health = await client.GetFromJsonAsync<JsonElement>(new Uri(url, "/healthz"), cancel);
            return [new(Verdict.Ok, Address, $"the Hub responds at {url}"), .. OfProxy(url, health, settings)];
        }
        catch (Exception error) when (error is HttpRequestException or JsonException or NotSupportedException
            || error is OperationCanceledException && !cancel.IsCancellationRequested)
        {
            var why = error is OperationCanceledException
                ? $"no response in {Limit.TotalSeconds:0} s"
                : error.Message.TrimEnd('.');
            return [new(Verdict.Warn, Address,
                $"no Hub responds at {url}: {why}. Is it running, and the proxy in front of it?")];
        }
    }

    static IEnumerable<Finding> OfProxy(Uri url, JsonElement health, Settings settings)
    {
        if (url.Scheme != "https") yield break;
        yield return health.ValueKind == JsonValueKind.Object
            && health.TryGetProperty("https", out var https) && https.ValueKind == JsonValueKind.True
            ? new(Verdict.Ok, Proxy, "the Hub is told that requests came over TLS")
            : new(Verdict.Fail, Proxy,
                "the Hub does not see that requests came over TLS: the proxy must set X-Forwarded-Proto and "
                + "X-Forwarded-For, and its address must be in CAPSUL_TRUSTED_PROXIES "
                + $"({string.Join(", ", settings.TrustedProxies)})");
    }
}
