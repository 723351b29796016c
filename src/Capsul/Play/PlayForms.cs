using System.Globalization;
using System.Text.RegularExpressions;

namespace Capsul.Play;

/// <summary>Refuses the requests that Stripe refuses, in its words.</summary>
static partial class PlayForms
{
    /// <summary>Smallest and largest charge, in the smallest unit of most currencies.</summary>
    const long Least = 50, Most = 99_999_999;

    const string Item = "line_items[0]", Price = Item + "[price_data]";

    static readonly string[] SessionNames =
    [
        "mode", "client_reference_id", "customer_email", "success_url", "cancel_url", "expires_at",
        Item + "[quantity]", Price + "[currency]", Price + "[unit_amount]", Price + "[product_data][name]",
    ];

    static readonly string[] RefundNames = ["payment_intent", "charge", "amount", "reason"];

    static readonly string[] Currencies = ["usd", "eur", "gbp", "chf", "jpy", "sek", "cad", "aud"];

    public static void CheckSession(IReadOnlyDictionary<string, string> form)
    {
        CheckNames(form, SessionNames, "payment_intent_data[metadata][");
        foreach (var name in (string[])["success_url", Item + "[quantity]", Price + "[currency]",
            Price + "[unit_amount]", Price + "[product_data][name]"])
            if (!form.TryGetValue(name, out var value) || value.Length == 0)
                throw PlayError.Invalid($"Missing required param: {name}.", name, "parameter_missing");
        if (form.GetValueOrDefault("mode") is not "payment")
            throw PlayError.Invalid("Invalid mode: must be one of payment, setup, or subscription", "mode");
        foreach (var name in (string[])["success_url", "cancel_url"])
            if (form.TryGetValue(name, out var url) && !Uri.TryCreate(url, UriKind.Absolute, out _))
                throw PlayError.Invalid("Not a valid URL", name, "url_invalid");
        if (form.TryGetValue("client_reference_id", out var key) && !Reference().IsMatch(key))
            throw PlayError.Invalid(
                "Only alphanumeric characters, dashes and underscores, at most 200", "client_reference_id");
        if (form.TryGetValue("customer_email", out var email) && !email.Contains('@', StringComparison.Ordinal))
            throw PlayError.Invalid($"Invalid email address: {email}", "customer_email", "email_invalid");
        if (!Currencies.Contains(form[Price + "[currency]"], StringComparer.Ordinal))
            throw PlayError.Invalid($"Invalid currency: {form[Price + "[currency]"]}. Stripe currently supports these "
                + $"currencies: {string.Join(", ", Currencies)}", Price + "[currency]");
    }

    /// <summary>The total of a session.</summary>
    public static long AmountOf(IReadOnlyDictionary<string, string> form)
    {
        var unit = Integer(form[Price + "[unit_amount]"], Price + "[unit_amount]");
        var quantity = Integer(form[Item + "[quantity]"], Item + "[quantity]");
        if (unit < 0 || quantity < 1)
            throw PlayError.Invalid(
                "This value must be greater than or equal to 0.", Price + "[unit_amount]", "parameter_invalid_integer");
        return (unit * quantity) switch
        {
            < Least => throw PlayError.Invalid("The Checkout Session's total amount due must add up to at least $0.50 "
                + "usd", code: "amount_too_small"),
            > Most => throw PlayError.Invalid("The Checkout Session's total amount due must be no more than "
                + "$999,999.99", code: "amount_too_large"),
            var total => total,
        };
    }

    public static void CheckRefund(IReadOnlyDictionary<string, string> form) =>
        CheckNames(form, RefundNames, "metadata[");

    public static long Integer(string text, string param) =>
        long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            && Math.Abs(number) < 1_000_000_000_000
            ? number : throw PlayError.Invalid($"Invalid integer: {text}", param, "parameter_invalid_integer");

    static readonly string[] CardPageNames =
    [
        "mode", "customer", "client_reference_id", "success_url", "cancel_url", "payment_method_types[0]", "expires_at",
    ];

    static readonly string[] ChargeNames =
    [
        "amount", "currency", "customer", "payment_method", "payment_method_types[0]", "off_session", "confirm",
        "description", "receipt_email",
    ];

    public static void CheckCustomer(IReadOnlyDictionary<string, string> form)
    {
        CheckNames(form, ["email", "name", "description"], "metadata[");
        if (form.TryGetValue("email", out var email) && !email.Contains('@', StringComparison.Ordinal))
            throw PlayError.Invalid($"Invalid email address: {email}", "email", "email_invalid");
    }

    public static void CheckCardPage(IReadOnlyDictionary<string, string> form)
    {
        CheckNames(form, CardPageNames, "setup_intent_data[metadata][");
        Need(form, "success_url", "payment_method_types[0]");
        if (form["payment_method_types[0]"] != "card")
            throw PlayError.Invalid("Invalid payment_method_types[0]: must be card here", "payment_method_types");
    }

    /// <summary>The amount of a PaymentIntent.</summary>
    public static long CheckCharge(IReadOnlyDictionary<string, string> form)
    {
        CheckNames(form, ChargeNames, "metadata[");
        Need(form, "amount", "currency");
        if (form.GetValueOrDefault("off_session") == "true" && form.GetValueOrDefault("confirm") != "true")
            throw PlayError.Invalid(
                "You cannot set `off_session` without setting `confirm` to `true`.", "off_session");
        if (!Currencies.Contains(form["currency"], StringComparer.Ordinal))
            throw PlayError.Invalid($"Invalid currency: {form["currency"]}. Stripe currently supports these "
                + $"currencies: {string.Join(", ", Currencies)}", "currency");
        return Integer(form["amount"], "amount") switch
        {
            < 1 => throw PlayError.Invalid("This value must be greater than or equal to 1.", "amount",
                "parameter_invalid_integer"),
            < Least => throw PlayError.Invalid("Amount must be at least $0.50 usd", "amount", "amount_too_small"),
            > Most => throw PlayError.Invalid(
                "Amount must be no more than $999,999.99", "amount", "amount_too_large"),
            var amount => amount,
        };
    }

    static void Need(IReadOnlyDictionary<string, string> form, params string[] names)
    {
        foreach (var name in names)
            if (!form.TryGetValue(name, out var value) || value.Length == 0)
                throw PlayError.Invalid($"Missing required param: {name}.", name, "parameter_missing");
    }

    static void CheckNames(IReadOnlyDictionary<string, string> form, string[] known, string metadata)
    {
        foreach (var name in form.Keys)
            if (!known.Contains(name, StringComparer.Ordinal) && !name.StartsWith(metadata, StringComparison.Ordinal))
                throw PlayError.Invalid($"Received unknown parameter: {name}", name, "parameter_unknown");
    }

    [GeneratedRegex("^[A-Za-z0-9_-]{1,200}$", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Reference();
}
