using Capsul.Hub.Engine;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Vms;

/// <summary>What this feature adds to the Hub.</summary>
static class VmFeature
{
    public static IServiceCollection AddVmOperations(this IServiceCollection services) => services
        .AddSingleton<OperationKind, CreateVmOperation>().AddSingleton<OperationKind, StartVmOperation>()
        .AddSingleton<OperationKind, StopVmOperation>().AddSingleton<OperationKind, RestartVmOperation>()
        .AddSingleton<OperationKind, DeleteVmOperation>();
}
