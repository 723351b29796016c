using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;
using Yarp.ReverseProxy.Forwarder;

namespace Capsul.Hub.Features.Sites;

/// <summary>
/// What the VM's web server is told of the request, and what of its answer is passed on. The name that was asked for
/// stays. Cookies are for that name alone: one for a domain would go to other VMs, and to the Hub if its name ends
/// alike.
/// </summary>
sealed class SiteTransformer : HttpTransformer
{
    public override async ValueTask TransformRequestAsync(
        HttpContext context, HttpRequestMessage proxyRequest, string destinationPrefix, CancellationToken cancel)
    {
        await base.TransformRequestAsync(context, proxyRequest, destinationPrefix, cancel);
        foreach (var name in (string[])["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded",
            "X-Real-IP"])
            proxyRequest.Headers.Remove(name);
        proxyRequest.Headers.TryAddWithoutValidation("X-Forwarded-For", $"{context.Connection.RemoteIpAddress}");
        proxyRequest.Headers.TryAddWithoutValidation("X-Forwarded-Proto", context.Request.Scheme);
        proxyRequest.Headers.TryAddWithoutValidation("X-Forwarded-Host", context.Request.Host.Value);
        proxyRequest.Headers.Host = context.Request.Host.Value;
    }

    public override async ValueTask<bool> TransformResponseAsync(
        HttpContext context, HttpResponseMessage? proxyResponse, CancellationToken cancel)
    {
        var goesOn = await base.TransformResponseAsync(context, proxyResponse, cancel);
        if (context.Response.Headers.TryGetValue(HeaderNames.SetCookie, out var cookies))
            context.Response.Headers.SetCookie = cookies.Select(OwnName).ToArray();
        return goesOn;
    }

    /// <summary>A cookie without its domain.</summary>
    internal static string? OwnName(string? cookie) => cookie is null ? null : string.Join(';', cookie.Split(';')
        .Where((part, n) => n == 0
            || !part.Split('=')[0].Trim().Equals("domain", StringComparison.OrdinalIgnoreCase)));
}
