using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Mails;

/// <summary>What this feature brings into the Hub.</summary>
public static class MailFeature
{
    public static IServiceCollection AddMails(this IServiceCollection services) =>
        services.AddSingleton<Outbox>().AddSingleton<MailSeal>();
}
