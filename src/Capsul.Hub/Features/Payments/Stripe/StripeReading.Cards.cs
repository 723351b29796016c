using System.Text.Json;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>Saved cards, and charges of them.</summary>
static partial class StripeReading
{
    /// <summary>A PaymentIntent that no Checkout Session made.</summary>
    public static PaymentState OfCharge(JsonElement intent, JsonElement? charge, IReadOnlyList<JsonElement> disputes,
        string decline) => Of(StatusOf(intent), intent.Text("currency") ?? "", intent.Whole("amount_received"),
            intent.Text("id"), charge, disputes) with
        {
            Card = new CardCharge(intent.Get("metadata")?.Text(StripeProvider.KeyName) ?? "",
                intent.Id("customer") ?? "", decline),
        };

    /// <summary>(https://docs.stripe.com/payments/paymentintents/lifecycle)</summary>
    static string StatusOf(JsonElement intent) => intent.Text("status") switch
    {
        "succeeded" => PaymentStatus.Paid,
        "canceled" => PaymentStatus.Failed,
        _ => PaymentStatus.Pending,
    };

    /// <summary>Nothing more will come of it by itself: somebody would have to enter another card, or approve it.
    /// </summary>
    public static bool IsDeclined(JsonElement intent) => intent.Text("status")
        is "requires_payment_method" or "requires_action" or "requires_confirmation" or "requires_capture";

    /// <summary>Stripe's code; empty if it gives none.</summary>
    public static string DeclineOf(JsonElement intent)
    {
        var error = intent.Get("last_payment_error");
        var charge = intent.Get("latest_charge");
        var code = error?.Text("decline_code") ?? error?.Text("code") ?? charge?.Text("failure_code")
            ?? (intent.Text("status") == "requires_action" ? "authentication_required" : "card_declined");
        // The code says more than that there is one.
        if (error?.Text("code") is "expired_card" or "authentication_required") code = error.Value.Text("code")!;
        return code.Length <= 100 ? code : code[..100];
    }

    public static FoundPayment FoundCharge(JsonElement intent)
    {
        var currency = intent.Text("currency") ?? "";
        return new FoundPayment(intent.Get("metadata")?.Text(StripeProvider.KeyName) ?? "", intent.Text("id") ?? "", "",
            intent.Text("receipt_email") ?? "", StripeAmounts.FromUnits(intent.Whole("amount") ?? 0, currency),
            currency.ToUpperInvariant(),
            DateTimeOffset.FromUnixTimeSeconds(intent.Whole("created") ?? 0).UtcDateTime,
            IsDeclined(intent) ? PaymentStatus.Failed : StatusOf(intent));
    }

    /// <summary>Null: it is no card, or not all of it is said.</summary>
    public static EnteredCard? CardOf(JsonElement method)
    {
        if (method.Text("id") is not { } id || method.Get("card") is not { } card
            || card.Whole("exp_year") is not (>= 2000 and < 9999 and var year)
            || card.Whole("exp_month") is not (>= 1 and <= 12 and var month)
            || card.Text("last4") is not { Length: 4 } lastFour || !lastFour.All(char.IsAsciiDigit))
            return null;
        var brand = card.Text("brand") ?? "";
        return new EnteredCard(id, brand.Length <= 40 ? brand : brand[..40], lastFour,
            new DateOnly((int)year, (int)month, 1).AddMonths(1));
    }
}
