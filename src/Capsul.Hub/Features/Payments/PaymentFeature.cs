using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Payments;

/// <summary>The services and routes of this feature.</summary>
public static class PaymentFeature
{
    public static IServiceCollection AddPayments(this IServiceCollection services) =>
        services.AddSingleton<ReturnSeal>().AddSingleton<PaymentProviders>().AddSingleton<ReceiveEvent>();

    /// <summary>
    /// Public, because the signature says whose an event is. Without the limit of requests of an address: a provider
    /// has few, and may have much to tell after a while.
    /// </summary>
    public static void MapPayments(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/webhooks/{provider}", routes.ServiceProvider.GetRequiredService<ReceiveEvent>().RunAsync)
            .RequireAuthorization(Policies.Public).WithMetadata(new NoSession(), new ForScripts())
            .DisableRateLimiting();
}
