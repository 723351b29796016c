using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace Capsul.Hub.Web;

/// <summary>
/// Headers of every response. Set when the response starts, so that error pages, which clear earlier headers, have them
/// too.
/// </summary>
public static class Headers
{
    /// <summary>Only files of this site, no inline script or style, no frames, forms to this site only.</summary>
    public const string ContentSecurityPolicy =
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
        + "form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

    /// <summary>This page's own scripts make pictures out of data, such as a pointer.</summary>
    public static void AllowMadePictures(HttpContext context) => context.Items[typeof(Headers)] = true;

    public static void Set(HttpContext context, bool tls) => context.Response.OnStarting(() =>
    {
        var headers = context.Response.Headers;
        headers[HeaderNames.ContentSecurityPolicy] = context.Items.ContainsKey(typeof(Headers))
            ? ContentSecurityPolicy.Replace("img-src 'self'", "img-src 'self' data:", StringComparison.Ordinal)
            : ContentSecurityPolicy;
        headers[HeaderNames.XContentTypeOptions] = "nosniff";
        headers[HeaderNames.XFrameOptions] = "DENY";
        headers["Referrer-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
        if (tls)
            headers[HeaderNames.StrictTransportSecurity] = "max-age=31536000";
        // Pages contain account data; only assets override this.
        if (!headers.ContainsKey(HeaderNames.CacheControl))
            headers[HeaderNames.CacheControl] = "no-store";
        return Task.CompletedTask;
    });
}
