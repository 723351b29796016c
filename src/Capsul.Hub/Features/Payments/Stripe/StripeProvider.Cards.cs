using System.Globalization;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>
/// Saved cards. A card is entered on a page that Stripe hosts (Checkout in the mode setup), and belongs to a Customer
/// of its own. A charge is a PaymentIntent that is confirmed when it is made, without anybody being there; one that is
/// declined is canceled, so that nothing can come of it later.
/// (https://docs.stripe.com/payments/save-and-reuse, https://docs.stripe.com/api/payment_intents/create)
/// </summary>
public sealed partial class StripeProvider
{
    const string ExpandCard = "expand[]=setup_intent.payment_method",
        ExpandCharge = "expand[]=latest_charge.balance_transaction";

    /// <summary>Not a Checkout Session.</summary>
    static bool IsCharge(string reference) => reference.StartsWith("pi_", StringComparison.Ordinal);

    public async Task<Outcome<CardPage>> CreateCardPageAsync(CardPageRequest request, CancellationToken cancel)
    {
        var made = await stripe.PostAsync("v1/customers", request.Key + "-customer",
            [new("email", request.Email), new($"metadata[{KeyName}]", request.Key)], cancel);
        if (made.Refused(out var problem, out var customer)) return problem;
        if (customer.Text("id") is not { } whose)
            return new Problem(ProblemKind.Unavailable, "Stripe's answer has no customer.");
        var answer = await stripe.PostAsync("v1/checkout/sessions", request.Key,
        [
            new("mode", "setup"),
            new("customer", whose),
            new("payment_method_types[0]", "card"),
            new("client_reference_id", request.Key),
            new("success_url", request.ReturnTo + "?returned=1"),
            new("cancel_url", request.ReturnTo),
            new($"setup_intent_data[metadata][{KeyName}]", request.Key),
        ], cancel);
        if (answer.Refused(out problem, out var session)) return problem;
        return session.Text("id") is { } id && session.Text("url") is { } url && IsPage(url)
            ? new CardPage(whose, id, url)
            : new Problem(ProblemKind.Unavailable, "Stripe's answer has no page.");
    }

    public async Task<Outcome<CardPageState>> AskCardPageAsync(string key, string reference, CancellationToken cancel)
    {
        var answer = await stripe.GetAsync(
            $"v1/checkout/sessions/{Uri.EscapeDataString(reference)}?{ExpandCard}", cancel);
        if (answer.Refused(out var problem, out var session)) return problem;
        if (session.Text("client_reference_id") != key)
            return new Problem(ProblemKind.Unavailable, "Stripe's answer is about another page.");
        var setup = session.Get("setup_intent");
        var card = setup?.Text("status") == "succeeded" && setup.Value.Get("payment_method") is { } method
            ? StripeReading.CardOf(method) : null;
        return new CardPageState(card, session.Text("status") == "expired");
    }

    public async Task<Outcome<string>> ChargeAsync(ChargeRequest request, CancellationToken cancel)
    {
        if (StripeAmounts.ToUnits(request.Amount, request.Currency) is not { } units)
            return new Problem(ProblemKind.Invalid, $"{request.Currency} has no such small unit at Stripe.");
        // Stripe forgets the key of a call after a day; the PaymentIntent itself keeps it for good.
        if ((await ListAsync($"v1/payment_intents?customer={Uri.EscapeDataString(request.Customer)}&created[gte]="
            + Seconds(request.Created - ClockTolerance), cancel)).Refused(out var problem, out var earlier))
            return problem;
        foreach (var made in earlier)
            if (KeyOf(made) == request.Key && made.Text("id") is { } id) return id;
        if (request.IsLookup) return new Problem(ProblemKind.NotFound, "Stripe has no such charge.");
        KeyValuePair<string, string>[] receipt = request.Email.Length > 0 ? [new("receipt_email", request.Email)] : [];
        var answer = await stripe.PostAsync("v1/payment_intents", request.Key,
        [
            .. receipt,
            new("amount", units.ToString(CultureInfo.InvariantCulture)),
            new("currency", request.Currency.ToLowerInvariant()),
            new("customer", request.Customer),
            new("payment_method", request.Method),
            new("payment_method_types[0]", "card"),
            new("off_session", "true"),
            new("confirm", "true"),
            new("description", "Credit for virtual machines"),
            new($"metadata[{KeyName}]", request.Key),
        ], cancel);
        if (answer.Refused(out problem, out var intent)) return problem;
        return KeyOf(intent) == request.Key && intent.Text("id") is { } reference && IsCharge(reference)
            ? reference : new Problem(ProblemKind.Unavailable, "Stripe's answer is about another charge.");
    }

    static string? KeyOf(JsonElement intent) => intent.Get("metadata")?.Text(KeyName);

    async Task<Outcome<PaymentState>> AskChargeAsync(string reference, CancellationToken cancel)
    {
        var path = $"v1/payment_intents/{Uri.EscapeDataString(reference)}";
        if ((await stripe.GetAsync($"{path}?{ExpandCharge}", cancel)).Refused(out var problem, out var intent))
            return problem;
        var decline = StripeReading.DeclineOf(intent);
        if (StripeReading.IsDeclined(intent)
            && (await stripe.PostAsync($"{path}/cancel", reference + "-cancel", [], cancel))
            .Refused(out problem, out intent))
            // It may have succeeded meanwhile.
            return problem with { Kind = ProblemKind.Unavailable };
        var charge = intent.Get("latest_charge");
        return (await DisputesAsync(charge, cancel)).Refused(out problem, out var disputes) ? problem
            : StripeReading.OfCharge(intent, charge, disputes, intent.Text("status") == "canceled" ? decline : "");
    }

    public async Task<Outcome<bool>> RemoveCardAsync(string method, CancellationToken cancel)
    {
        var path = $"v1/payment_methods/{Uri.EscapeDataString(method)}";
        if ((await stripe.GetAsync(path, cancel)).Refused(out var problem, out var card))
            return problem.Kind == ProblemKind.NotFound ? true : problem;
        // The answer may have been lost: what is not there cannot be taken away again.
        if (card.Id("customer") is null) return true;
        return (await stripe.PostAsync($"{path}/detach", method + "-detach", [], cancel)).Refused(out problem, out _)
            ? problem : true;
    }
}
