using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Dunning;

/// <summary>The email of a step: what is left, what happens next, and what to do.</summary>
public static class DunningMail
{
    public static Mail Write(
        string email, DunningStepRow step, DunningTable table, BalanceRow balance, Settings settings, DateTime now) =>
        MailText.Write(TemplateOf(step, balance), email, new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["balance"] = Show.Dollars(balance.Balance),
            ["monthly"] = Show.Dollars(balance.DollarsPerMonth),
            ["lasts"] = Show.Days(balance.RunwayDays ?? 0),
            ["next"] = table.Describe(step, balance.Balance > 0, now, TimeSpan.Zero),
            ["link"] = Site.Link(settings, "/balance").ToString(),
            ["support"] = Site.HasSupport(settings) ? settings.SupportEmail
                : Site.Link(settings, "/support").ToString(),
        });

    /// <summary>A balance may fall below zero at once: a payment was taken back.</summary>
    static string TemplateOf(DunningStepRow step, BalanceRow balance) =>
        step.Template == "low_balance" && balance.Balance <= 0 ? "used_up" : step.Template;
}
