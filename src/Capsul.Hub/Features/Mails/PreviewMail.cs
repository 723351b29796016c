using Capsul.Foundation;
using Capsul.Hub.Features.AccountLimits;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Sizes;
using Capsul.Hub.Features.SpendingLimits;
using Capsul.Hub.Features.Traffic;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Mails;

/// <summary>An email as its recipient would see it, with made-up values.</summary>
public static class PreviewMail
{
    const string Recipient = "jo@example.org";

    /// <summary>As a new installation has them.</summary>
    static readonly DunningTable Table = new(
    [
        new(1, "mail", "low_balance", 168, 0), new(2, "mail", "low_balance", 24, 24),
        new(3, "mail", "used_up", 0, 12), new(4, "stop", "stopped", 0, 72),
        new(5, "mail", "last_notice", 0, 168), new(6, "delete", "deleted", 0, 72),
    ]);

    /// <param name="name">One of <see cref="MailText.Names"/>.</param>
    /// <param name="settings">Of this installation.</param>
    /// <param name="time">The clock.</param>
    public static Mail Write(string name, Settings settings, TimeProvider time)
    {
        var now = time.GetUtcNow().UtcDateTime;
        if (name == "sign_in")
        {
            var mail = SignInMail.Write(settings.SiteName, Recipient, Site.Link(settings, "/sign-in/"), "", now);
            return mail with { Body = mail.Body.Replace(Mail.SecretMark, "example", StringComparison.Ordinal) };
        }
        var (customer, from) = (new SizeCustomerRow(Recipient, 2), now.Date + TimeSpan.FromDays(30));
        if (name == "price_rise")
            return PriceMail.Rise(customer, "f1-s", 7.50m, new SetPrice.Plan(9, from), settings);
        if (name == "price_withdrawn")
            return PriceMail.Withdrawal(customer, new PriceRow(1, "f1-s", from, 9, now, now, null), settings);
        if (name == "traffic")
            return TakeInUsage.Write(new OverLimitRow("capsul-0123456789", "hopper", Recipient, 700L << 30, 350L << 30),
                settings.TrafficBytes > 0 ? settings.TrafficBytes : 1L << 40, settings);
        if (name == "approved") return ApproveAccount.Write(Recipient, settings);
        if (name == "closing") return ClosingMail.Write(Recipient, now.AddDays(settings.ClosingDays), settings);
        if (name == "refund")
            return RefundMail.Write(
                Recipient, 20, "https://pay.example.org/pull-payments/example", now + RefundPayment.ClaimFor, settings);
        if (name is "top_up_failed" or "top_up_off")
            return AutoTopUpMail.Write(Recipient, 20, "expired_card",
                name == "top_up_off" ? null : now + EndCharge.PauseAfter(1), settings);
        if (name is "balance_alert" or "usage_alert")
        {
            var limits = new SpendingLimitRow(null, 5, 10, null, null, 20, 15.80m, 7.50m, 10.35m);
            return name == "balance_alert" ? TellSpending.OfBalance(Recipient, limits, settings)
                : TellSpending.OfUsage(Recipient, limits, settings);
        }
        var step = Table.Steps.First(s => s.Template == name);
        var balance = step.RunwayHours > 0 ? new BalanceRow(10, 8.25m, 7.50m) : new BalanceRow(10, 10.40m, 7.50m);
        return DunningMail.Write(Recipient, step, Table, balance, settings, now);
    }
}
