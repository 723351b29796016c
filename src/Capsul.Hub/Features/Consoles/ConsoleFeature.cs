using Capsul.Hub.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Consoles;

/// <summary>The services and routes of this feature.</summary>
public static class ConsoleFeature
{
    public static IServiceCollection AddConsoles(this IServiceCollection services) =>
        services.AddSingleton<ConsoleSocket>();

    /// <summary>Public, because the token says who may: a terminal has no session.</summary>
    public static void MapConsoles(this IEndpointRouteBuilder routes)
    {
        var socket = routes.ServiceProvider.GetRequiredService<ConsoleSocket>();
        foreach (var kind in Enum.GetValues<ViewKind>())
            routes.MapGet($"/vms/{{id}}/{kind.Word()}/socket",
                    (string id, HttpContext context, CancellationToken cancel) =>
                        socket.OpenAsync(kind, id, context, cancel))
                .RequireAuthorization(Policies.Public).WithMetadata(new NoSession(), new ForScripts());
    }
}
