using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Sites;

/// <summary>The services and the middleware of this feature.</summary>
public static class SiteFeature
{
    public static IServiceCollection AddSites(this IServiceCollection services) =>
        services.AddHttpForwarder().AddSingleton<SiteForwarder>();

    /// <summary>Before everything that belongs to the Hub's own pages.</summary>
    public static void UseSites(this IApplicationBuilder app)
    {
        var sites = app.ApplicationServices.GetRequiredService<SiteForwarder>();
        app.Use(async (context, next) =>
        {
            if (!await sites.TryServeAsync(context)) await next(context);
        });
    }
}
