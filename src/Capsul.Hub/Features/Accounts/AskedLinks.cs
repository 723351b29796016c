using Capsul.Hub.Web;
using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Features.Accounts;

/// <summary>
/// Cookies that record which links a browser requested, so that opening one there signs in without another click. They
/// contain only the links' hashes, which cannot be used to sign in.
/// </summary>
public sealed class AskedLinks(Site site)
{
    const char Separator = '.';

    string CookieName => site.Cookie("capsul-asked");

    public void Remember(HttpContext context, string token) =>
        context.Response.Cookies.Append(CookieName,
            string.Join(Separator, Known(context).Append(Name(token)).TakeLast(SignIn.MaxLiveForAddress)),
            site.CookieFor(SignIn.Lifetime));

    public bool Asked(HttpContext context, string token) =>
        Known(context).Contains(Name(token), StringComparer.Ordinal);

    public void Forget(HttpContext context) =>
        context.Response.Cookies.Delete(CookieName, site.CookieFor(TimeSpan.Zero));

    static string Name(string token) => Convert.ToHexStringLower(Secret.Hash(token));

    string[] Known(HttpContext context) =>
        context.Request.Cookies[CookieName] is { Length: > 0 and < 1000 } cookie ? cookie.Split(Separator) : [];
}
