using Capsul.Hub.Reconcilers;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Hub.Features.Mails;

/// <summary>What this feature brings into the web application.</summary>
public static class MailParts
{
    public static IServiceCollection AddMails(this IServiceCollection services) =>
        services.AddSingleton<Outbox>().AddSingleton<MailSeal>().AddSingleton<MailSender>();
}
