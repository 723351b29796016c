using System.Globalization;
using Capsul.Foundation;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Capsul.Hub.Web;

/// <summary>Files that browsers, crawlers and security researchers expect on every site.</summary>
public static class WellKnown
{
    /// <summary>Account pages redirect crawlers to the sign-in page anyway.</summary>
    const string Robots = """
        User-agent: *
        Disallow: /sign-in/
        """;

    public static void MapWellKnown(this IEndpointRouteBuilder routes)
    {
        Map(routes, "/favicon.ico", (HttpContext context) => Assets.Plain(context, "favicon.ico"));
        Map(routes, "/robots.txt", () => Results.Text(Robots + "\n"));
        Map(routes, "/.well-known/security.txt", Security);
    }

    /// <summary>
    /// RFC 9116. It must have an expiration date; it is generated on each request, so that is a year from now.
    /// </summary>
    static IResult Security(Settings settings, TimeProvider time) =>
        !Site.HasSupport(settings) ? Results.NotFound() : Results.Text(
            $"Contact: mailto:{settings.SupportEmail}\n"
            + string.Create(CultureInfo.InvariantCulture,
                $"Expires: {time.GetUtcNow().AddYears(1):yyyy-MM-dd'T'00:00:00'Z'}\n")
            + "Preferred-Languages: en\n");

    static void Map(IEndpointRouteBuilder routes, string path, Delegate serve) =>
        routes.MapGet(path, serve).RequireAuthorization(Policies.Public).WithMetadata(new NoSession());
}
