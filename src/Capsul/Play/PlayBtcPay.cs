using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.BtcPay;

namespace Capsul.Play;

/// <summary>An invoice of the play BTCPay Server. One coin is worth <see cref="PlayBtcPay.Rate"/>.</summary>
public sealed class PlayInvoice
{
    public required string Id { get; init; }

    public required string Key { get; init; }

    public required string Email { get; init; }

    /// <summary>Seconds of Unix time.</summary>
    public required long Created { get; init; }

    public required decimal Amount { get; init; }

    public required string Currency { get; init; }

    /// <summary>New, Processing, Settled, Invalid or Expired.</summary>
    public string Status { get; set; } = "New";

    public string AdditionalStatus { get; set; } = "None";

    /// <summary>In coins.</summary>
    public List<(decimal Value, string Status)> Payments { get; } = [];
}

/// <summary>
/// As much of BTCPay Server as we call, with play coins: the Greenfield API's invoices, and its webhooks. It refuses
/// what that refuses, and signs as it does.
/// </summary>
public sealed class PlayBtcPay : IAsyncDisposable
{
    public const string ApiKey = "play-key", Store = "play-store", WebhookSecret = "play-secret";

    public const decimal Rate = 50_000;

    readonly WebApplication app;
    readonly List<PlayInvoice> invoices = [];
    readonly Lock gate = new();

    PlayBtcPay(WebApplication app, Uri address) =>
        (this.app, Address, Pulls) = (app, address, new PlayPulls(address, () => Time));

    public Uri Address { get; }

    public PlayFaults Faults { get; } = new();

    /// <summary>Refunds that have to be claimed.</summary>
    public PlayPulls Pulls { get; }

    public TimeProvider Time { get; set; } = TimeProvider.System;

    /// <summary>The next change of a pull payment is made, and its answer is lost.</summary>
    public bool LosesNextPull { get; set; }

    /// <summary>The key has the rights for pull payments.</summary>
    public bool MayRefund { get; set; } = true;

    public IReadOnlyList<PlayInvoice> Invoices
    {
        get { lock (gate) return [.. invoices]; }
    }

    /// <summary>Settings of a Hub that uses it.</summary>
    public (string Name, string? Value)[] Settings =>
    [
        ("CAPSUL_BTCPAY_URL", Address.ToString()), ("CAPSUL_BTCPAY_STORE", Store), ("CAPSUL_BTCPAY_API_KEY", ApiKey),
        ("CAPSUL_BTCPAY_WEBHOOK_SECRET", WebhookSecret),
    ];

    public static async Task<PlayBtcPay> StartAsync(CancellationToken cancel)
    {
        var address = new Uri($"http://127.0.0.1:{Ports.TakeFree()}/");
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls(address.ToString());
        var play = new PlayBtcPay(builder.Build(), address);
        play.Map();
        await play.app.StartAsync(cancel);
        return play;
    }

    void Map()
    {
        const string all = "/api/v1/stores/{store}/invoices", one = all + "/{id}";
        app.MapGet(all, (HttpContext c, string store, string? orderId, long? startDate, int? skip, int? take) =>
            AnswerAsync(c, store, () => new JsonArray([.. Invoices
                .Where(i => (orderId is null || i.Key == orderId) && i.Created >= (startDate ?? 0))
                .Reverse().Skip(skip ?? 0).Take(take ?? int.MaxValue).Select(Json)])));
        app.MapPost(all, async (HttpContext c, string store) =>
        {
            var body = await JsonNode.ParseAsync(c.Request.Body, cancellationToken: c.RequestAborted);
            return await AnswerAsync(c, store, () => Add(body!.AsObject()));
        });
        app.MapGet(one, (HttpContext c, string store, string id) =>
            AnswerAsync(c, store, () => Find(id) is { } invoice ? Json(invoice) : null));
        app.MapGet(one + "/payment-methods", (HttpContext c, string store, string id) =>
            AnswerAsync(c, store, () => Find(id) is { } invoice ? new JsonArray(Method(invoice)) : null));
        MapPulls();
    }

    void MapPulls()
    {
        const string all = "/api/v1/stores/{store}/pull-payments", open = "/api/v1/pull-payments/{id}";
        app.MapGet(all, (HttpContext c, string store, bool? includeArchived) =>
            AnswerAsync(c, store, () => Pulls.List(includeArchived == true), MayRefund));
        app.MapPost(all, async (HttpContext c, string store) =>
        {
            var body = await JsonNode.ParseAsync(c.Request.Body, cancellationToken: c.RequestAborted);
            return await ChangeAsync(c, store, () => Pulls.Add(body!.AsObject()));
        });
        app.MapDelete(all + "/{id}", (HttpContext c, string store, string id) =>
            ChangeAsync(c, store, () => Pulls.Archive(id) ? JsonValue.Create("") : null));
        // Whoever has the link may look.
        app.MapGet(open, (HttpContext c, string id) => AnswerAsync(c, () => Pulls.Show(id)));
        app.MapGet(open + "/payouts", (HttpContext c, string id, bool? includeCancelled) =>
            AnswerAsync(c, () => Pulls.ListPayouts(id, includeCancelled == true)));
    }

    async Task<IResult> ChangeAsync(HttpContext context, string store, Func<JsonNode?> act)
    {
        var answer = await AnswerAsync(context, store, act, MayRefund);
        if (!LosesNextPull) return answer;
        LosesNextPull = false;
        context.Abort();
        return Results.Empty;
    }

    async Task<IResult> AnswerAsync(HttpContext context, string store, Func<JsonNode?> act, bool may = true)
    {
        if (context.Request.Headers.Authorization != $"token {ApiKey}") return Results.StatusCode(401);
        if (store != Store) return Results.StatusCode(403);
        if (!may)
            return Results.Text(new JsonObject
            {
                ["code"] = "missing-permission",
                ["message"] = "Insufficient API Permissions. Please use an API key with permission for pull payments",
            }.ToJsonString(), "application/json", statusCode: 403);
        return await AnswerAsync(context, act);
    }

    async Task<IResult> AnswerAsync(HttpContext context, Func<JsonNode?> act)
    {
        if (await Faults.BeforeAsync(context)) return Results.Empty;
        try
        {
            var answer = act();
            if (await Faults.AfterAsync(context)) return Results.Empty;
            // Deleting has an answer without a text.
            if (answer is JsonValue) return Results.Ok();
            return answer is null ? Results.StatusCode(404)
                : Results.Text(answer.ToJsonString(), "application/json");
        }
        catch (FormatException error)
        {
            return Results.Text(new JsonArray(new JsonObject { ["path"] = "amount", ["message"] = error.Message })
                .ToJsonString(), "application/json", statusCode: 422);
        }
    }

    JsonObject Add(JsonObject body)
    {
        var amount = decimal.Parse(body["amount"]?.GetValue<string>() ?? "", NumberStyles.AllowDecimalPoint,
            CultureInfo.InvariantCulture);
        if (amount < 0) throw new FormatException("The amount should be 0 or more.");
        var currency = body["currency"]?.GetValue<string>() ?? "";
        if (currency.Length != 3) throw new FormatException("Invalid currency.");
        lock (gate)
        {
            var invoice = new PlayInvoice
            {
                Id = string.Create(CultureInfo.InvariantCulture, $"PlayInvoice{invoices.Count + 1}"),
                Key = body["metadata"]?["orderId"]?.GetValue<string>() ?? "",
                Email = body["metadata"]?["buyerEmail"]?.GetValue<string>() ?? "",
                Created = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds(),
                Amount = amount,
                Currency = currency,
            };
            invoices.Add(invoice);
            return Json(invoice);
        }
    }

    PlayInvoice? Find(string id)
    {
        lock (gate) return invoices.Find(i => i.Id == id);
    }

    JsonObject Json(PlayInvoice invoice) => new()
    {
        ["id"] = invoice.Id,
        ["storeId"] = Store,
        ["amount"] = invoice.Amount.ToString(CultureInfo.InvariantCulture),
        ["createdTime"] = invoice.Created,
        ["currency"] = invoice.Currency,
        ["type"] = "Standard",
        ["checkoutLink"] = new Uri(Address, $"i/{invoice.Id}").ToString(),
        ["status"] = invoice.Status,
        ["additionalStatus"] = invoice.AdditionalStatus,
        ["metadata"] = new JsonObject { ["orderId"] = invoice.Key, ["buyerEmail"] = invoice.Email },
    };

    static JsonObject Method(PlayInvoice invoice) => new()
    {
        ["paymentMethodId"] = "BTC-CHAIN",
        ["currency"] = "BTC",
        ["rate"] = Rate.ToString(CultureInfo.InvariantCulture),
        ["payments"] = new JsonArray([.. invoice.Payments.Select(p => new JsonObject
        {
            ["value"] = p.Value.ToString(CultureInfo.InvariantCulture),
            ["status"] = p.Status,
        })]),
    };

    /// <summary>Body and signature of an event about an invoice.</summary>
    public static (byte[] Body, string Signature) Event(PlayInvoice invoice, string type, string delivery) =>
        Sign(Encoding.UTF8.GetBytes(new JsonObject
        {
            ["deliveryId"] = delivery + "-again",
            ["originalDeliveryId"] = delivery,
            ["type"] = type,
            ["storeId"] = Store,
            ["invoiceId"] = invoice.Id,
            ["metadata"] = new JsonObject { ["orderId"] = invoice.Key },
        }.ToJsonString()));

    /// <summary>Body and signature of an event about a claim of a refund.</summary>
    public static (byte[] Body, string Signature) Event(PlayPull pull, PlayClaim payout, string type) =>
        Sign(Encoding.UTF8.GetBytes(new JsonObject
        {
            ["deliveryId"] = $"{payout.Id}-{payout.State}",
            ["type"] = type,
            ["storeId"] = Store,
            ["payoutId"] = payout.Id,
            ["pullPaymentId"] = pull.Id,
            ["payoutState"] = payout.State,
        }.ToJsonString()));

    static (byte[] Body, string Signature) Sign(byte[] body) => (body, BtcPayProvider.Sign(WebhookSecret, body));

    public async ValueTask DisposeAsync()
    {
        await app.StopAsync(CancellationToken.None);
        await app.DisposeAsync();
    }
}
