using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Mails;

/// <summary>The services of this feature.</summary>
public static class MailFeature
{
    public static IServiceCollection AddMails(this IServiceCollection services) =>
        services.AddSingleton<Outbox>().AddSingleton<MailSeal>();
}
