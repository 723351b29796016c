using System.Globalization;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>
/// Cards, through a page that Stripe hosts (Checkout): no script of theirs runs on ours, and no card number comes near.
/// A payment is a Checkout Session with its PaymentIntent; our key is its client_reference_id, and in the metadata of
/// the PaymentIntent, from where Stripe copies it to the charge.
/// </summary>
public sealed partial class StripeProvider(HttpClient client, Uri api, string secretKey, string? webhookSecret)
    : IPaymentProvider, ISavedCards
{
    /// <summary>Our key in Stripe's metadata.</summary>
    public const string KeyName = "capsul_key";

    const string Expand =
        "expand[]=payment_intent.latest_charge.balance_transaction";

    /// <summary>Of a mistake in the clocks of both sides.</summary>
    static readonly TimeSpan ClockTolerance = TimeSpan.FromHours(1);

    readonly StripeClient stripe = new(client, api, secretKey);

    public static readonly ProviderKind Kind = new("stripe", "Stripe", "CAPSUL_STRIPE_SECRET_KEY", TellsRefunds: true,
        (settings, client) => settings.StripeSecretKey is { } key
            ? new StripeProvider(client(), settings.StripeApi, key, settings.StripeWebhookSecret) : null);

    public string Name => Kind.Name;

    public string Title => "Card";

    /// <summary>Keys of Stripe's test mode say so.</summary>
    public bool IsPlay => secretKey.StartsWith("sk_test_", StringComparison.Ordinal)
        || secretKey.StartsWith("rk_test_", StringComparison.Ordinal);

    /// <summary>An expired session cannot be paid.</summary>
    public TimeSpan LateFor => TimeSpan.Zero;

    public async Task<Outcome<Checkout>> CreateCheckoutAsync(CheckoutRequest request, CancellationToken cancel)
    {
        if (StripeAmounts.ToUnits(request.Amount, request.Currency) is not { } units)
            return new Problem(ProblemKind.Invalid, $"{request.Currency} has no such small unit at Stripe.");
        var currency = request.Currency.ToLowerInvariant();
        KeyValuePair<string, string>[] customer =
            request.Email is { } email ? [new("customer_email", email)] : [];
        var answer = await stripe.PostAsync("v1/checkout/sessions", request.Key,
        [
            .. customer,
            new("mode", "payment"),
            new("client_reference_id", request.Key),
            new("success_url", request.ReturnTo + "?returned=1"),
            new("cancel_url", request.ReturnTo),
            new("line_items[0][quantity]", "1"),
            new("line_items[0][price_data][currency]", currency),
            new("line_items[0][price_data][unit_amount]", units.ToString(CultureInfo.InvariantCulture)),
            new("line_items[0][price_data][product_data][name]", "Credit for virtual machines"),
            new($"payment_intent_data[metadata][{KeyName}]", request.Key),
        ], cancel);
        if (answer.Refused(out var problem, out var session)) return problem;
        return session.Text("id") is { } id && session.Text("url") is { } url && IsPage(url)
            ? new Checkout(id, url)
            : new Problem(ProblemKind.Unavailable, "Stripe's answer has no checkout.");
    }

    /// <summary>The person's browser is sent there.</summary>
    static bool IsPage(string url) => Uri.TryCreate(url, UriKind.Absolute, out var uri)
        && (uri.Scheme == Uri.UriSchemeHttps || uri is { IsLoopback: true, Scheme: "http" });

    public async Task<Outcome<PaymentState>> AskAsync(string reference, CancellationToken cancel)
    {
        if (IsCharge(reference)) return await AskChargeAsync(reference, cancel);
        var answer = await stripe.GetAsync(
            $"v1/checkout/sessions/{Uri.EscapeDataString(reference)}?{Expand}", cancel);
        if (answer.Refused(out var problem, out var session)) return problem;
        var intent = session.Get("payment_intent");
        var charge = intent?.Get("latest_charge");
        return (await DisputesAsync(charge, cancel)).Refused(out problem, out var disputes) ? problem
            : StripeReading.Of(session, intent, charge, disputes);
    }

    async Task<Outcome<List<JsonElement>>> DisputesAsync(JsonElement? charge, CancellationToken cancel)
    {
        if (charge is not { } disputed || !disputed.IsTrue("disputed")) return new List<JsonElement>();
        var list = await stripe.GetAsync(
            $"v1/disputes?limit=100&charge={Uri.EscapeDataString(disputed.Text("id") ?? "")}", cancel);
        return list.Refused(out var problem, out var found) ? problem : found.List("data").ToList();
    }

    public bool TellsRefunds => Kind.TellsRefunds;

    public Task<Outcome<IReadOnlyList<FoundRefund>>> ListRefundsAsync(DateTime since, CancellationToken cancel) =>
        Task.FromResult<Outcome<IReadOnlyList<FoundRefund>>>(new List<FoundRefund>());

    public async Task<Outcome<RefundState>> RefundAsync(RefundRequest request, CancellationToken cancel)
    {
        if (request.Reference is { } reference) return await AskRefundAsync(request, reference, cancel);
        if (StripeAmounts.ToUnits(request.Amount, request.Currency) is not { } units)
            return new Problem(ProblemKind.Invalid, $"{request.Currency} has no such small unit at Stripe.");
        // Stripe forgets the key of a call after a day; the refund itself keeps it for good.
        var earlier = await stripe.GetAsync(
            $"v1/refunds?limit=100&payment_intent={Uri.EscapeDataString(request.Charge)}", cancel);
        if (earlier.Refused(out var unknown, out var list)) return unknown;
        foreach (var made in list.List("data"))
            if (made.Get("metadata")?.Text(KeyName) == request.Key) return StripeReading.Refund(request.Amount, made);
        var answer = await stripe.PostAsync("v1/refunds", request.Key,
        [
            new("payment_intent", request.Charge),
            new("amount", units.ToString(CultureInfo.InvariantCulture)),
            new($"metadata[{KeyName}]", request.Key),
        ], cancel);
        return answer.Refused(out var problem, out var refund) ? problem
            : StripeReading.Refund(request.Amount, refund);
    }

    /// <summary>
    /// One that Stripe has made is not made again, and only Stripe's own word that it failed means so: not that another
    /// account, or a key with fewer rights, does not find it.
    /// </summary>
    async Task<Outcome<RefundState>> AskRefundAsync(
        RefundRequest request, string reference, CancellationToken cancel)
    {
        var answer = await stripe.GetAsync($"v1/refunds/{Uri.EscapeDataString(reference)}", cancel);
        return answer.Refused(out var problem, out var refund)
            ? new Problem(ProblemKind.Unavailable, problem.Message, problem.Detail)
            : StripeReading.Refund(request.Amount, refund);
    }

    public Outcome<ProviderEvent> Read(IHeaderDictionary headers, ReadOnlySpan<byte> body, DateTime now)
    {
        if (webhookSecret is null)
            return new Problem(ProblemKind.NotFound, "CAPSUL_STRIPE_WEBHOOK_SECRET is not set.");
        if (StripeSignature.Check(headers[StripeSignature.Header], body, webhookSecret, now) is { } problem)
            return problem;
        try
        {
            var reader = new Utf8JsonReader(body);
            using var document = JsonDocument.ParseValue(ref reader);
            return StripeReading.Event(document.RootElement);
        }
        catch (JsonException error)
        {
            return new Problem(ProblemKind.Invalid, "It is no JSON.", error.Message);
        }
    }
}
