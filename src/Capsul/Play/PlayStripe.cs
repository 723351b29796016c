using System.Text.Json.Nodes;
using Capsul.Foundation;

namespace Capsul.Play;

/// <summary>
/// A payment provider for demonstrations and tests: as much of Stripe's API as we call, on this machine, with play
/// money. It refuses what Stripe refuses and signs as Stripe does; by <see cref="Faults"/> it loses and delays answers,
/// and repeats, reorders and loses events. What it has received is the truth that a Hub is compared with.
/// </summary>
public sealed class PlayStripe : IAsyncDisposable
{
    public const string SecretKey = "sk_test_play", WebhookSecret = "whsec_play";

    readonly WebApplication app;
    readonly PlayWebhooks webhooks;

    PlayStripe(WebApplication app, PlayBooks books, PlayFaults faults, PlayWebhooks webhooks) =>
        (this.app, Books, Faults, this.webhooks) = (app, books, faults, webhooks);

    /// <summary>What has been paid.</summary>
    public PlayBooks Books { get; }

    public PlayFaults Faults { get; }

    public Uri Address { get; private init; } = null!;

    /// <summary>Calls of the API so far.</summary>
    public int Calls => Faults.Calls;

    /// <summary>Events that a Hub has taken, repeated ones too.</summary>
    public int EventsAccepted => webhooks.Accepted;

    /// <summary>The signature of an event.</summary>
    public string Sign(string body) => webhooks.Sign(body);

    /// <summary>Settings of a Hub that uses it.</summary>
    public (string Name, string? Value)[] Settings =>
    [
        ("CAPSUL_STRIPE_API", Address.ToString()), ("CAPSUL_STRIPE_SECRET_KEY", SecretKey),
        ("CAPSUL_STRIPE_WEBHOOK_SECRET", WebhookSecret),
    ];

    /// <param name="time">Of the signatures.</param>
    public static async Task<PlayStripe> StartAsync(TimeProvider time, CancellationToken cancel)
    {
        var address = new Uri($"http://127.0.0.1:{Ports.TakeFree()}/");
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.AddServerHeader = false).UseUrls(address.ToString());
        var app = builder.Build();
        var webhooks = new PlayWebhooks(WebhookSecret, time);
        var faults = new PlayFaults();
        var stripe = new PlayStripe(app, new PlayBooks(address, time, webhooks.Tell), faults, webhooks)
        { Address = address };
        stripe.Map();
        await app.StartAsync(cancel);
        return stripe;
    }

    /// <summary>Events are sent there from now on.</summary>
    public void TellTo(Uri hub) => webhooks.To = new Uri(hub, "/webhooks/stripe");

    /// <summary>Sends every event that waits, by the faults; returns when all have been sent.</summary>
    public Task SendEventsAsync(CancellationToken cancel) => webhooks.SendAsync(Faults, cancel);

    void Map()
    {
        app.MapPost("/v1/checkout/sessions", Post(Books.AddSession));
        app.MapGet("/v1/checkout/sessions", Get(query => Books.ListSessions(
            PlayForms.Integer(query["created[gte]"].ToString(), "created[gte]"), query["starting_after"].ToString(),
            (int)PlayForms.Integer(query["limit"].ToString(), "limit"))));
        app.MapGet("/v1/checkout/sessions/{id}", (HttpContext c, string id) =>
            GetAsync(c, query => Books.ShowSession(id,
                query.FirstOrDefault(q => q.Key.StartsWith("expand[", StringComparison.Ordinal)).Value.ToString())));
        app.MapGet("/v1/payouts", Get(query => Books.ListPayouts(
            PlayForms.Integer(query["created[gte]"].ToString(), "created[gte]"))));
        app.MapGet("/v1/balance_transactions", Get(query => Books.ListMovements(query["payout"].ToString())));
        MapCards();
        app.MapPost("/v1/refunds", Post(Books.AddRefund));
        app.MapGet("/v1/refunds", Get(query => Books.ListRefunds(query["payment_intent"].ToString())));
        app.MapGet("/v1/refunds/{id}", (HttpContext c, string id) => GetAsync(c, _ => Books.ShowRefund(id)));
        app.MapGet("/v1/disputes", Get(query => Books.ListDisputes(query["charge"].ToString())));
        app.MapGet("/c/pay/{id}", (string id) => PlayPage.Show(Books, id));
        app.MapPost("/c/pay/{id}", async (HttpContext c, string id) =>
        {
            var form = await c.Request.ReadFormAsync(c.RequestAborted);
            var answer = PlayPage.Choose(Books, id, form["choice"].ToString());
            // The demo has no faults: the event goes out at once.
            await SendEventsAsync(c.RequestAborted);
            return answer;
        });
    }

    void MapCards()
    {
        app.MapPost("/v1/customers", Post(Books.AddCustomer));
        app.MapGet("/v1/payment_methods/{id}", (HttpContext c, string id) => GetAsync(c, _ => Books.ShowCard(id)));
        app.MapPost("/v1/payment_methods/{id}/detach", (HttpContext c, string id) =>
            PostAsync(c, _ => Books.Detach(id)));
        app.MapPost("/v1/payment_intents", Post(Books.AddCharge));
        app.MapGet("/v1/payment_intents", Get(query => Books.ListIntents(query["customer"].ToString(),
            PlayForms.Integer(query["created[gte]"].ToString(), "created[gte]"), query["starting_after"].ToString(),
            (int)PlayForms.Integer(query["limit"].ToString(), "limit"))));
        app.MapGet("/v1/payment_intents/{id}", (HttpContext c, string id) => GetAsync(c, query =>
            Books.ShowIntent(id, query.Any(q => q.Key.StartsWith("expand[", StringComparison.Ordinal)))));
        app.MapPost("/v1/payment_intents/{id}/cancel", (HttpContext c, string id) =>
            PostAsync(c, _ => Books.CancelIntent(id)));
        app.MapGet("/c/setup/{id}", (string id) => PlayPage.ShowCardPage(Books, id));
        app.MapPost("/c/setup/{id}", async (HttpContext c, string id) =>
        {
            var form = await c.Request.ReadFormAsync(c.RequestAborted);
            var answer = PlayPage.EnterCard(Books, id, form["choice"].ToString());
            await SendEventsAsync(c.RequestAborted);
            return answer;
        });
    }

    Delegate Get(Func<IQueryCollection, JsonObject> read) => (HttpContext context) => GetAsync(context, read);

    Delegate Post(Func<IReadOnlyDictionary<string, string>, JsonObject> act) =>
        (HttpContext context) => PostAsync(context, act);

    async Task<IResult> GetAsync(HttpContext context, Func<IQueryCollection, JsonObject> read)
    {
        if (Authorize(context) is { } refusal) return Answer(refusal);
        if (await Faults.BeforeAsync(context)) return Results.Empty;
        return await Faults.AfterAsync(context) ? Results.Empty : Answer(Try(() => read(context.Request.Query)));
    }

    async Task<IResult> PostAsync(HttpContext context, Func<IReadOnlyDictionary<string, string>, JsonObject> act)
    {
        if (Authorize(context) is { } refusal) return Answer(refusal);
        if (await Faults.BeforeAsync(context)) return Results.Empty;
        if (!context.Request.HasFormContentType)
            return Answer(new PlayAnswer(400, PlayError.Json("invalid_request_error",
                "Invalid request: the content type must be application/x-www-form-urlencoded.")));
        var form = (await context.Request.ReadFormAsync(context.RequestAborted))
            .ToDictionary(f => f.Key, f => f.Value.ToString(), StringComparer.Ordinal);
        var key = context.Request.Headers["Idempotency-Key"].ToString();
        var (answer, isReplay) = Books.Once(key, context.Request.Path, form, () => Try(() => act(form)));
        if (isReplay) context.Response.Headers["Idempotent-Replayed"] = "true";
        return await Faults.AfterAsync(context) ? Results.Empty : Answer(answer);
    }

    static PlayAnswer? Authorize(HttpContext context)
    {
        var says = context.Request.Headers.Authorization.ToString();
        if (says == $"Bearer {SecretKey}") return null;
        return new PlayAnswer(401, PlayError.Json("invalid_request_error", says.Length == 0
            ? "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                + "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
            : "Invalid API Key provided."));
    }

    static PlayAnswer Try(Func<JsonObject> act)
    {
        try
        {
            return new PlayAnswer(200, act());
        }
        catch (PlayError error)
        {
            return new PlayAnswer(error.Status, error.Body);
        }
    }

    static IResult Answer(PlayAnswer answer) =>
        Results.Text(answer.Body.ToJsonString(), "application/json", statusCode: answer.Status);

    public async ValueTask DisposeAsync()
    {
        await app.StopAsync(CancellationToken.None);
        await app.DisposeAsync();
        webhooks.Dispose();
    }
}

/// <summary>Status and body of an answer.</summary>
public sealed record PlayAnswer(int Status, JsonObject Body);

/// <summary>An error as Stripe's API answers it.</summary>
public sealed class PlayError(int status, JsonObject body) : Exception
{
    public int Status => status;

    public JsonObject Body => body;

    public static JsonObject Json(string type, string message, string? code = null, string? param = null)
    {
        var error = new JsonObject { ["type"] = type, ["message"] = message };
        if (code is not null) error["code"] = code;
        if (param is not null) error["param"] = param;
        return new JsonObject { ["error"] = error };
    }

    public static PlayError Invalid(string message, string? param = null, string? code = null) =>
        new(400, Json("invalid_request_error", message, code, param));

    /// <summary>A parameter names something that is not there.</summary>
    public static PlayError NoSuch(string what, string id) =>
        Invalid($"No such {what}: '{id}'", what, "resource_missing");

    public static PlayError Missing(string what, string id) =>
        new(404, Json("invalid_request_error", $"No such {what}: '{id}'", "resource_missing", what));
}
