using Capsul.Foundation;
using MailKit.Net.Smtp;

namespace Capsul.Hub.Features.Mails;

/// <summary>
/// Whether emails can be sent: the server accepts a connection and the user, and the addresses are not placeholders.
/// </summary>
public static class CheckMail
{
    const string Name = "mail";
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    public static async Task<IReadOnlyList<Finding>> RunAsync(Settings settings, CancellationToken cancel) =>
        [await ServerAsync(settings, cancel), .. Addresses(settings)];

    static async Task<Finding> ServerAsync(Settings settings, CancellationToken cancel)
    {
        if (settings.SmtpHost is not { } host)
        {
            return settings.Development
                ? new(Verdict.Ok, Name, "emails are shown at /development/mails")
                : new(Verdict.Warn, Name,
                    "CAPSUL_SMTP_HOST is not set: sign-in links stay in the outbox, so nobody can sign in");
        }
        var server = $"{host}:{settings.SmtpPort}";
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Limit);
        using var smtp = new SmtpClient { CheckCertificateRevocation = false };
        try
        {
            await MailSender.SignInAsync(smtp, host, settings, limit.Token);
            // Some servers close the connection instead of answering.
            await smtp.DisconnectAsync(quit: true, limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return new(Verdict.Ok, Name,
                $"{server} accepts {(settings.SmtpUser is { } user ? $"user {user}" : "connections")}");
        }
        catch (Exception error) when (MailSender.IsExpected(error) && !cancel.IsCancellationRequested)
        {
            var why = error is OperationCanceledException
                ? $"no response in {Limit.TotalSeconds:0} s"
                : error.Message.ReplaceLineEndings(" ");
            return new(Verdict.Fail, Name, $"{server}: {why}");
        }
    }

    static IEnumerable<Finding> Addresses(Settings settings)
    {
        if (settings.Development) yield break;
        foreach (var (name, value) in (IEnumerable<(string, string)>)
            [("CAPSUL_MAIL_FROM", settings.MailFrom), ("CAPSUL_SUPPORT_EMAIL", settings.SupportEmail)])
        {
            if (value.TrimEnd('>').EndsWith("@localhost", StringComparison.Ordinal))
                yield return new(Verdict.Warn, Name, $"{name} is {value}: nobody can send email to it");
        }
        if (settings.OperatorEmails.Count == 0)
            yield return new(Verdict.Warn, Name,
                "CAPSUL_OPERATOR_EMAIL is not set: nobody is emailed when an alert is raised");
    }
}
