using Capsul.Hub.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Vms;

/// <summary>What this feature brings into the web application.</summary>
public static class VmParts
{
    public static IServiceCollection AddVmPages(this IServiceCollection services) => services.AddSingleton<VmEvents>();

    public static void MapVmEvents(this IEndpointRouteBuilder routes)
    {
        var events = routes.ServiceProvider.GetRequiredService<VmEvents>();
        Map(routes, "/console/events", events.AllAsync);
        Map(routes, "/vms/{id}/events", events.OneAsync);
    }

    static void Map(IEndpointRouteBuilder routes, string path, Delegate stream) =>
        routes.MapGet(path, stream).RequireAuthorization(Policies.SignedIn).WithMetadata(new SessionCookie.ForScripts());
}
