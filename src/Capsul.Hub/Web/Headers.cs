using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace Capsul.Hub.Web;

/// <summary>
/// Headers on every answer. Set as the answer starts, so that an error page, which clears what came before, has them
/// too.
/// </summary>
public static class Headers
{
    /// <summary>
    /// Nothing but files of this site, no inline script or style, no frames, forms to this site only.
    /// </summary>
    public const string ContentSecurityPolicy =
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
        + "form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

    public static void Set(HttpContext context, bool tls) => context.Response.OnStarting(() =>
    {
        var headers = context.Response.Headers;
        headers[HeaderNames.ContentSecurityPolicy] = ContentSecurityPolicy;
        headers[HeaderNames.XContentTypeOptions] = "nosniff";
        headers[HeaderNames.XFrameOptions] = "DENY";
        headers["Referrer-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";
        if (tls)
            headers[HeaderNames.StrictTransportSecurity] = "max-age=31536000";
        // Pages speak of an account; only assets say otherwise.
        if (!headers.ContainsKey(HeaderNames.CacheControl))
            headers[HeaderNames.CacheControl] = "no-store";
        return Task.CompletedTask;
    });
}
