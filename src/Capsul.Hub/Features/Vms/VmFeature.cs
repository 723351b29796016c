using Capsul.Hub.Engine;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Vms;

/// <summary>The services and routes of this feature.</summary>
public static class VmFeature
{
    public static IReadOnlyList<OperationKind> Operations { get; } =
    [
        new CreateVmOperation(), new AdoptVmOperation(),
        .. VmActions.All.Where(a => !a.Destroys).Select(a => new PowerOperation(a)),
        new DeleteVmOperation(), new MoveVmOperation(), new ReinstallVmOperation(),
        new RescueVmOperation(), new EndRescueOperation(),
    ];

    public static IServiceCollection AddVmOperations(this IServiceCollection services)
    {
        foreach (var kind in Operations) services.AddSingleton(kind);
        return services;
    }

    public static IServiceCollection AddVmPages(this IServiceCollection services) =>
        services.AddSingleton<AccountWatches>().AddSingleton<VmEvents>();

    public static void MapVmEvents(this IEndpointRouteBuilder routes)
    {
        var events = routes.ServiceProvider.GetRequiredService<VmEvents>();
        Map(routes, "/console/events", events.AllAsync);
        Map(routes, "/vms/{id}/events", events.OneAsync);
    }

    static void Map(IEndpointRouteBuilder routes, string path, Delegate stream) =>
        routes.MapGet(path, stream).RequireAuthorization(Policies.SignedIn).WithMetadata(new ForScripts());
}
