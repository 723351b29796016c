using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Closings;

/// <summary>Tells the owner that the account is being closed, whoever asked for it, and until when it may be
/// reopened.</summary>
public static class ClosingMail
{
    public static Mail Write(string email, DateTime due, Settings settings) =>
        MailText.Write("closing", email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["due"] = Show.Time(due),
            ["link"] = Site.Link(settings, "/account/close").ToString(),
        });
}
