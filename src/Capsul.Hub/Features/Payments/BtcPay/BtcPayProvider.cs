using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Microsoft.AspNetCore.Http;

namespace Capsul.Hub.Features.Payments.BtcPay;

/// <summary>
/// Bitcoin, through the co-op's own BTCPay Server (its Greenfield API). A payment is an invoice, whose order ID is our
/// key. What has settled is credited at the rate of its invoice: late, in parts, or too much.
/// (https://docs.btcpayserver.org/API/Greenfield/v1/)
/// </summary>
public sealed class BtcPayProvider(HttpClient client, Uri url, string store, string apiKey, string? webhookSecret)
    : IPaymentProvider
{
    public const string Header = "BTCPay-Sig";

    readonly BtcPayClient server = new(client, url, apiKey);
    readonly BtcPayRefunds refunds = new(new BtcPayClient(client, url, apiKey), store);

    /// <summary>Invoices that are listed at a time.</summary>
    const int PageSize = 100;

    public static readonly ProviderKind Kind = new("btcpay", "BTCPay Server", "CAPSUL_BTCPAY_API_KEY",
        TellsRefunds: false, (settings, client) => settings.BtcPay is { } pay
            ? new BtcPayProvider(client(), pay.Url, pay.Store, pay.Key, settings.BtcPayWebhookSecret) : null);

    public string Name => Kind.Name;

    public string Title => "Bitcoin";

    public bool IsPlay => false;

    /// <summary>Somebody may send to an address that was shown days ago.</summary>
    public TimeSpan LateFor => TimeSpan.FromDays(7);

    string Invoices => $"api/v1/stores/{Uri.EscapeDataString(store)}/invoices";

    /// <summary>
    /// The API has no idempotency keys, so an invoice of this key is looked for first. If there are two after all, the
    /// other one's page is shown to nobody.
    /// </summary>
    public async Task<Outcome<Checkout>> CreateCheckoutAsync(CheckoutRequest request, CancellationToken cancel)
    {
        var found = await server.SendAsync(
            HttpMethod.Get, $"{Invoices}?orderId={Uri.EscapeDataString(request.Key)}", null, cancel);
        if (found.Refused(out var problem, out var list)) return problem;
        if (list.ValueKind == JsonValueKind.Array && list.EnumerateArray().LastOrDefault() is var made
            && Read(made) is { } earlier)
            return earlier;
        var answer = await server.SendAsync(HttpMethod.Post, Invoices, new
        {
            amount = request.Amount.ToString(CultureInfo.InvariantCulture),
            currency = request.Currency,
            metadata = new { orderId = request.Key, buyerEmail = request.Email },
            checkout = new { redirectURL = request.ReturnTo + "?returned=1", redirectAutomatically = true },
        }, cancel);
        if (answer.Refused(out problem, out var invoice)) return problem;
        return Read(invoice) is { } checkout ? checkout
            : new Problem(ProblemKind.Unavailable, "The answer of BTCPay Server has no invoice.");
    }

    static Checkout? Read(JsonElement invoice) => invoice.Text("id") is { Length: > 0 } id
        && invoice.Text("checkoutLink") is { } link && Uri.TryCreate(link, UriKind.Absolute, out var uri)
        && uri.Scheme is "https" or "http" ? new Checkout(id, link) : null;

    public async Task<Outcome<PaymentState>> AskAsync(string reference, CancellationToken cancel)
    {
        var path = $"{Invoices}/{Uri.EscapeDataString(reference)}";
        var answer = await server.SendAsync(HttpMethod.Get, path, null, cancel);
        if (answer.Refused(out var problem, out var invoice)) return problem;
        var methods = await server.SendAsync(HttpMethod.Get, path + "/payment-methods", null, cancel);
        return methods.Refused(out problem, out var ways) ? problem : BtcPayReading.Of(invoice, ways);
    }

    public async Task<Outcome<IReadOnlyList<FoundPayment>>> ListAsync(DateTime since, CancellationToken cancel)
    {
        var all = new List<FoundPayment>();
        var from = new DateTimeOffset(since).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);
        while (true)
        {
            var answer = await server.SendAsync(
                HttpMethod.Get, $"{Invoices}?startDate={from}&take={PageSize}&skip={all.Count}", null, cancel);
            if (answer.Refused(out var problem, out var list)) return problem;
            var page = list.ValueKind == JsonValueKind.Array
                ? list.EnumerateArray().Select(BtcPayReading.Found).ToList() : [];
            all.AddRange(page);
            if (page.Count < PageSize) return all;
        }
    }

    /// <summary>Coins are in the co-op's own wallet.</summary>
    public Task<Outcome<IReadOnlyList<FoundPayout>>> ListPayoutsAsync(DateTime since, CancellationToken cancel) =>
        Task.FromResult<Outcome<IReadOnlyList<FoundPayout>>>(new List<FoundPayout>());

    public bool TellsRefunds => Kind.TellsRefunds;

    public Task<Outcome<IReadOnlyList<FoundRefund>>> ListRefundsAsync(DateTime since, CancellationToken cancel) =>
        refunds.ListAsync(since, cancel);

    public Task<Outcome<RefundState>> RefundAsync(RefundRequest request, CancellationToken cancel) =>
        refunds.AskAsync(request, cancel);

    public Outcome<ProviderEvent> Read(IHeaderDictionary headers, ReadOnlySpan<byte> body, DateTime now)
    {
        if (webhookSecret is null)
            return new Problem(ProblemKind.NotFound, "CAPSUL_BTCPAY_WEBHOOK_SECRET is not set.");
        if (!CryptographicOperations.FixedTimeEquals(
            Encoding.UTF8.GetBytes(headers[Header].ToString()), Encoding.ASCII.GetBytes(Sign(webhookSecret, body))))
            return new Problem(ProblemKind.Forbidden, "Its signature is wrong.");
        try
        {
            var reader = new Utf8JsonReader(body);
            using var document = JsonDocument.ParseValue(ref reader);
            return BtcPayReading.Event(document.RootElement);
        }
        catch (JsonException error)
        {
            return new Problem(ProblemKind.Invalid, "It is no JSON.", error.Message);
        }
    }

    /// <summary>The header of an event. It has no time, so a recording is only noticed by its ID.</summary>
    public static string Sign(string secret, ReadOnlySpan<byte> body) =>
        "sha256=" + Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), body));
}
