using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>Tells a person that their card was declined, and what to do.</summary>
public static class AutoTopUpMail
{
    /// <param name="decline">The provider's code.</param>
    /// <param name="again">When it is tried again; null: it has turned itself off.</param>
    public static Mail Write(string email, decimal amount, string decline, DateTime? again, Settings settings) =>
        MailText.Write(again is null ? "top_up_off" : "top_up_failed", email,
            new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["site"] = settings.SiteName,
                ["amount"] = Show.Dollars(amount),
                ["why"] = OffReason.SayDecline(decline),
                ["again"] = again is { } at ? Show.Time(at) : "",
                ["link"] = Site.Link(settings, "/balance/auto").ToString(),
                ["add"] = Site.Link(settings, "/balance/add").ToString(),
            });
}
