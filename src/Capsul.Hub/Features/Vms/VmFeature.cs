using Capsul.Hub.Engine;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Vms;

/// <summary>The services and routes of this feature.</summary>
static class VmFeature
{
    public static IServiceCollection AddVmOperations(this IServiceCollection services) => services
        .AddSingleton<OperationKind, CreateVmOperation>().AddSingleton<OperationKind, StartVmOperation>()
        .AddSingleton<OperationKind, StopVmOperation>().AddSingleton<OperationKind, RestartVmOperation>()
        .AddSingleton<OperationKind, DeleteVmOperation>();

    public static IServiceCollection AddVmPages(this IServiceCollection services) => services.AddSingleton<VmEvents>();

    public static void MapVmEvents(this IEndpointRouteBuilder routes)
    {
        var events = routes.ServiceProvider.GetRequiredService<VmEvents>();
        Map(routes, "/console/events", events.AllAsync);
        Map(routes, "/vms/{id}/events", events.OneAsync);
    }

    static void Map(IEndpointRouteBuilder routes, string path, Delegate stream) =>
        routes.MapGet(path, stream).RequireAuthorization(Policies.SignedIn).WithMetadata(new ForScripts());
}
