using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Consoles;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Sites;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub;

/// <summary>
/// The pages of the Hub: the web application and each feature's services. Expects <see cref="Postgres.Db"/>, <see
/// cref="Storage.KeyRing"/>, <see cref="Settings"/> and <see cref="TimeProvider"/> among the services.
/// </summary>
public static class HubPages
{
    public static IServiceCollection AddHubPages(this IServiceCollection services, Settings settings) =>
        services.AddWeb(settings).AddAccounts().AddMails().AddVmOperations().AddVmPages().AddConsoles()
            .AddPayments().AddSites();

    public static WebApplication MapHubPages(this WebApplication app)
    {
        app.MapWeb(first => first.UseSites());
        app.MapVmEvents();
        app.MapConsoles();
        app.MapPayments();
        return app;
    }
}
