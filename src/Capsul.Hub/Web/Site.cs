using System.Net;
using Capsul.Foundation;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Web;

/// <summary>The address under which people reach the Hub, and what follows from it for cookies and headers.</summary>
public sealed class Site(Settings settings, IServer server)
{
    /// <summary>
    /// For links in emails. Without a configured address, the one that the server listens on, as seen from this
    /// machine.
    /// </summary>
    public Uri Base => settings.BaseUrl ?? Listening() ?? new Uri($"http://127.0.0.1:{settings.Port}");

    /// <summary>
    /// Whether cookies are sent over TLS only: always, unless the pages are plain http on this machine alone.
    /// </summary>
    public bool Secure => settings.BaseUrl is { } url && !(url.Scheme == Uri.UriSchemeHttp && url.IsLoopback);

    /// <summary>Whether people connect over TLS.</summary>
    public bool Tls => settings.BaseUrl?.Scheme == Uri.UriSchemeHttps;

    /// <summary>Name of a cookie; over TLS with the prefix that prevents sibling domains from setting it.</summary>
    public string Cookie(string name) => Secure ? "__Host-" + name : name;

    public CookieOptions CookieFor(TimeSpan age) => new()
    {
        HttpOnly = true,
        Secure = Secure,
        SameSite = SameSiteMode.Lax,
        Path = "/",
        MaxAge = age,
        IsEssential = true,
    };

    public Uri Link(string path) => new(Base, path);

    /// <summary>For links in emails that background work writes.</summary>
    public static Uri Link(Settings settings, string path) =>
        new(settings.BaseUrl ?? new Uri($"http://127.0.0.1:{settings.Port}"), path);

    /// <summary>Whether a support address was set; its default reaches nobody.</summary>
    public static bool HasSupport(Settings settings) =>
        !settings.SupportEmail.EndsWith("@localhost", StringComparison.Ordinal);

    /// <summary>Whether emails reach anybody: a server sends them, or a page shows them.</summary>
    public static bool HasMail(Settings settings) => settings.SmtpHost is not null || settings.Development;

    Uri? Listening()
    {
        foreach (var address in server.Features.Get<IServerAddressesFeature>()?.Addresses ?? [])
        {
            if (!Uri.TryCreate(address.Replace("//+", "//0.0.0.0", StringComparison.Ordinal)
                .Replace("//*", "//0.0.0.0", StringComparison.Ordinal),
                    UriKind.Absolute, out var uri) || uri.Scheme != Uri.UriSchemeHttp)
                continue;
            var any = IPAddress.TryParse(uri.Host.Trim('[', ']'), out var ip)
                && (ip.Equals(IPAddress.Any) || ip.Equals(IPAddress.IPv6Any));
            return any ? new UriBuilder(uri) { Host = "127.0.0.1" }.Uri : uri;
        }
        return null;
    }
}
