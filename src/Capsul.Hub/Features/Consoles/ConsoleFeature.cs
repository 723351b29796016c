using Capsul.Hub.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Consoles;

/// <summary>The services and routes of this feature.</summary>
public static class ConsoleFeature
{
    public static IServiceCollection AddConsoles(this IServiceCollection services) =>
        services.AddSingleton<ConsoleSocket>();

    /// <summary>Public, because the token says who may: a terminal has no session.</summary>
    public static void MapConsoles(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/vms/{id}/console/socket", routes.ServiceProvider.GetRequiredService<ConsoleSocket>().OpenAsync)
            .RequireAuthorization(Policies.Public).WithMetadata(new NoSession(), new ForScripts());
}
