using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Payments;

/// <summary>Tells whoever has paid that money goes back which they have to claim, where, and until when.</summary>
public static class RefundMail
{
    /// <param name="url">At the provider.</param>
    public static Mail Write(string email, decimal amount, string url, DateTime ends, Settings settings) =>
        MailText.Write("refund", email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["amount"] = Show.Dollars(amount),
            ["ends"] = Show.Time(ends),
            ["link"] = url,
            ["support"] = Site.Link(settings, "/support").ToString(),
        });
}
