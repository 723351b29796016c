using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Accounts;

/// <summary>What this feature brings into the web application.</summary>
public static class AccountParts
{
    public static IServiceCollection AddAccounts(this IServiceCollection services) =>
        services.AddSingleton<Sessions>().AddSingleton<AskedLinks>();
}
