using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Accounts;

/// <summary>The services of this feature: who is signed in.</summary>
public static class AccountFeature
{
    public static IServiceCollection AddAccounts(this IServiceCollection services)
    {
        services.AddAuthentication(SessionCookie.SchemeName)
            .AddScheme<AuthenticationSchemeOptions, SessionCookie>(SessionCookie.SchemeName, configureOptions: null);
        return services.AddSingleton<Sessions>().AddSingleton<AskedLinks>();
    }
}
