using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Features.PriceLevels;
using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Sizes;

/// <summary>The emails to those who have capsuls of a size, or addresses, whose price changes.</summary>
public static class PriceMail
{
    /// <summary>The price rises.</summary>
    /// <param name="customer">Who has how many.</param>
    /// <param name="size">Its name.</param>
    /// <param name="before">Dollars a month until then.</param>
    /// <param name="plan">What it costs from when.</param>
    /// <param name="settings">Of this installation.</param>
    public static Mail Rise(
        SizeCustomerRow customer, string size, decimal before, SetPrice.Plan plan, Settings settings) =>
        Write("price_rise", customer, size, plan.Dollars, plan.From, settings,
            ("before", Show.Dollars(PriceLevelRow.At(before, customer.Percent))));

    /// <summary>It does not rise after all.</summary>
    public static Mail Withdrawal(SizeCustomerRow customer, PriceRow price, Settings settings) =>
        Write("price_withdrawn", customer, price.Size, price.DollarsPerMonth, price.ActiveFrom, settings);

    static Mail Write(string template, SizeCustomerRow customer, string size, decimal dollars, DateTime from,
        Settings settings, params (string Name, string Value)[] more)
    {
        var isAddress = size == Prices.FurtherAddress;
        var values = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["site"] = settings.SiteName,
            ["what"] = isAddress ? "a further IPv4 address" : size,
            ["one"] = isAddress ? "a further IPv4 address" : $"a capsul of size {size}",
            ["count"] = isAddress ? Show.Count(customer.Vms, "further IPv4 address", "further IPv4 addresses")
                : $"{Show.Count(customer.Vms, "capsul", "capsuls")} of size {size}",
            ["exit"] = isAddress ? "give the address back" : "delete the capsul",
            ["price"] = Show.Dollars(PriceLevelRow.At(dollars, customer.Percent)),
            ["from"] = Show.Time(from),
            ["link"] = Site.Link(settings, "/console").ToString(),
        };
        foreach (var (name, value) in more) values[name] = value;
        return MailText.Write(template, customer.Email, values);
    }
}
