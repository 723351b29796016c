using System.CommandLine;
using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Command = System.CommandLine.Command;

namespace Capsul.Cli;

/// <summary><c>capsul mail</c>: the emails that customers get.</summary>
static class MailVerb
{
    static readonly Argument<string> Name = MakeName();

    static readonly Option<bool> Html = new("--html") { Description = "The HTML part instead of the plain text." };

    static Argument<string> MakeName()
    {
        var argument = new Argument<string>("NAME") { Description = $"One of {string.Join(", ", MailText.Names)}." };
        argument.AcceptOnlyFromAmong([.. MailText.Names]);
        return argument;
    }

    public static Command Make() => new("mail", """
        Shows the emails that customers get, with made-up values and the name of this installation (CAPSUL_SITE_NAME).

        Example:
          capsul mail preview last_notice
        """)
    {
        CommandLine.Verb("preview", "Shows an email.", PreviewAsync, Name, Html),
    };

    static Task<int> PreviewAsync(ParseResult parsed, CancellationToken cancel)
    {
        var mail = PreviewMail.Write(parsed.GetValue(Name)!, Settings.Load(), TimeProvider.System);
        Console.Write(parsed.GetValue(Html)
            ? MailHtml.Write(mail.Subject, mail.Body) : $"Subject: {mail.Subject}\n\n{mail.Body}");
        return Task.FromResult(0);
    }
}
