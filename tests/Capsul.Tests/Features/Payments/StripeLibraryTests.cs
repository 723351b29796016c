using Capsul.Hub.Features.Payments.Stripe;
using Capsul.Play;
using Stripe;
using Stripe.Checkout;

namespace Capsul.Tests.Features.Payments;

/// <summary>
/// Stripe's own library as an independent party: it accepts what the play provider signs, and uses it as it would use
/// Stripe.
/// </summary>
public sealed class StripeLibraryTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Its_verification_accepts_our_signatures_and_refuses_what_we_refuse()
    {
        await using var stripe = await PlayStripe.StartAsync(TimeProvider.System, Cancel);
        const string body = """{"id":"evt_1","object":"event","api_version":"2024-06-20","type":"charge.refunded"}""";
        var header = stripe.Sign(body);
        EventUtility.ConstructEvent(body, header, PlayStripe.WebhookSecret, 300, throwOnApiVersionMismatch: false)
            .Id.ShouldBe("evt_1");
        var now = TimeProvider.System.GetUtcNow().UtcDateTime;
        StripeSignature.Check(header, System.Text.Encoding.UTF8.GetBytes(body), PlayStripe.WebhookSecret, now)
            .ShouldBeNull();
        foreach (var wrong in (string[])["t=1,v1=00", header + "0", header.Replace("v1=", "v0=")])
        {
            Should.Throw<StripeException>(
                () => EventUtility.ValidateSignature(body, wrong, PlayStripe.WebhookSecret, 300), wrong);
            StripeSignature.Check(wrong, System.Text.Encoding.UTF8.GetBytes(body), PlayStripe.WebhookSecret, now)
                .ShouldNotBeNull(wrong);
        }
    }

    static SessionCreateOptions Options(long amount = 2000, string currency = "usd") => new()
    {
        Mode = "payment",
        ClientReferenceId = "key-1",
        SuccessUrl = "https://example.org/",
        LineItems =
        [
            new SessionLineItemOptions
            {
                Quantity = 1,
                PriceData = new SessionLineItemPriceDataOptions
                {
                    Currency = currency,
                    UnitAmount = amount,
                    ProductData = new SessionLineItemPriceDataProductDataOptions { Name = "Credit" },
                },
            },
        ],
    };

    [Fact]
    public async Task It_makes_asks_and_refunds_at_the_play_provider()
    {
        await using var play = await PlayStripe.StartAsync(TimeProvider.System, Cancel);
        var client = new StripeClient(PlayStripe.SecretKey, apiBase: play.Address.ToString().TrimEnd('/'));
        var sessions = new SessionService(client);
        var options = new RequestOptions { IdempotencyKey = "key-1" };
        var session = await sessions.CreateAsync(Options(), options, Cancel);
        (await sessions.CreateAsync(Options(), options, Cancel)).Id.ShouldBe(session.Id);
        (session.Status, session.PaymentStatus, session.AmountTotal).ShouldBe(("open", "unpaid", 2000));
        (await Should.ThrowAsync<StripeException>(() => sessions.CreateAsync(Options(2100), options, Cancel)))
            .StripeError.Type.ShouldBe("idempotency_error");
        play.Books.Pay(session.Id);
        var paid = await sessions.GetAsync(session.Id, new SessionGetOptions
        { Expand = ["payment_intent.latest_charge.balance_transaction"] }, cancellationToken: Cancel);
        paid.PaymentIntent.LatestCharge.BalanceTransaction.Fee.ShouldBe(88);
        var refunds = new RefundService(client);
        var refund = await refunds.CreateAsync(
            new RefundCreateOptions { PaymentIntent = paid.PaymentIntentId, Amount = 500 }, cancellationToken: Cancel);
        refund.Status.ShouldBe("succeeded");
        play.Books.TurnRefund(refund.Id, "failed", "declined");
        refund = await refunds.GetAsync(refund.Id, cancellationToken: Cancel);
        (refund.Status, refund.FailureReason).ShouldBe(("failed", "declined"));
        play.Books.TurnRefund(refund.Id, "succeeded");
        (await Should.ThrowAsync<StripeException>(() => refunds.CreateAsync(
            new RefundCreateOptions { PaymentIntent = paid.PaymentIntentId, Amount = 1501 },
            cancellationToken: Cancel))).HttpStatusCode.ShouldBe(System.Net.HttpStatusCode.BadRequest);
        play.Books.Dispute(session.Id, "needs_response");
        var ofCharge = new DisputeListOptions { Charge = paid.PaymentIntent.LatestChargeId };
        (await new DisputeService(client).ListAsync(ofCharge, cancellationToken: Cancel))
            .Single().BalanceTransactions.Single().Fee.ShouldBe(1500);
    }

    [Fact]
    public async Task It_saves_a_card_charges_it_and_takes_it_away_at_the_play_provider()
    {
        await using var play = await PlayStripe.StartAsync(TimeProvider.System, Cancel);
        var client = new StripeClient(PlayStripe.SecretKey, apiBase: play.Address.ToString().TrimEnd('/'));
        var sessions = new SessionService(client);
        var (works, customer) = await SaveAsync("");
        var intents = new PaymentIntentService(client);
        var charge = Charge(customer, works);
        var once = new RequestOptions { IdempotencyKey = "charge-1" };
        var paid = await intents.CreateAsync(charge, once, Cancel);
        (paid.Status, paid.AmountReceived, paid.ReceiptEmail).ShouldBe(("succeeded", 2000, "jo@example.org"));
        (await intents.CreateAsync(charge, once, Cancel)).Id.ShouldBe(paid.Id);
        var (fails, other) = await SaveAsync("authentication_required");
        charge = Charge(other, fails);
        once = new RequestOptions { IdempotencyKey = "charge-2" };
        for (var n = 0; n < 2; n++)
        {
            var declined = await Should.ThrowAsync<StripeException>(() => intents.CreateAsync(charge, once, Cancel));
            declined.HttpStatusCode.ShouldBe(System.Net.HttpStatusCode.PaymentRequired);
            (declined.StripeError.Type, declined.StripeError.Code).ShouldBe(("card_error", "authentication_required"));
            declined.StripeError.PaymentIntent.Status.ShouldBe("requires_payment_method");
        }
        var ofOther = new PaymentIntentListOptions
        {
            Customer = other,
            Limit = 100,
            Created = new DateRangeOptions { GreaterThanOrEqual = DateTime.UnixEpoch },
        };
        var made = (await intents.ListAsync(ofOther, cancellationToken: Cancel)).Single();
        (await intents.CancelAsync(made.Id, cancellationToken: Cancel)).Status.ShouldBe("canceled");
        var methods = new PaymentMethodService(client);
        (await methods.DetachAsync(works, cancellationToken: Cancel)).CustomerId.ShouldBeNull();
        await RefusedAsync(() => methods.DetachAsync(works, cancellationToken: Cancel));
        await RefusedAsync(() => intents.CreateAsync(Charge(customer, works), cancellationToken: Cancel));
        await RefusedAsync(() => intents.CreateAsync(Charge(other, works), cancellationToken: Cancel));
        await RefusedAsync(() => intents.CancelAsync(paid.Id, cancellationToken: Cancel));
        charge.Confirm = null;
        await RefusedAsync(() => intents.CreateAsync(charge, cancellationToken: Cancel));

        static async Task RefusedAsync(Func<Task> call) => (await Should.ThrowAsync<StripeException>(call))
            .HttpStatusCode.ShouldBe(System.Net.HttpStatusCode.BadRequest);

        static PaymentIntentCreateOptions Charge(string customer, string card) => new()
        {
            Amount = 2000,
            Currency = "usd",
            Customer = customer,
            PaymentMethod = card,
            OffSession = true,
            Confirm = true,
            ReceiptEmail = "jo@example.org",
        };

        async Task<(string Card, string Customer)> SaveAsync(string decline)
        {
            var of = await new CustomerService(client).CreateAsync(
                new CustomerCreateOptions { Email = "jo@example.org" }, cancellationToken: Cancel);
            var page = new SessionCreateOptions
            { Mode = "setup", Customer = of.Id, SuccessUrl = "https://example.org/" };
            // The library is of a later version of the API than our calls.
            page.AddExtraParam("payment_method_types[0]", "card");
            var session = await sessions.CreateAsync(page, cancellationToken: Cancel);
            play.Books.EnterCard(session.Id, decline);
            var done = await sessions.GetAsync(session.Id, new SessionGetOptions
            { Expand = ["setup_intent.payment_method"] }, cancellationToken: Cancel);
            (done.Status, done.SetupIntent.Status).ShouldBe(("complete", "succeeded"));
            return (done.SetupIntent.PaymentMethodId, of.Id);
        }
    }

    [Theory]
    [InlineData(49, "usd", "amount_too_small")]
    [InlineData(-5, "usd", "parameter_invalid_integer")]
    [InlineData(100_000_000, "usd", "amount_too_large")]
    [InlineData(2000, "xyz", null)]
    public async Task What_stripe_refuses_is_refused(long amount, string currency, string? code)
    {
        await using var play = await PlayStripe.StartAsync(TimeProvider.System, Cancel);
        var client = new StripeClient(PlayStripe.SecretKey, apiBase: play.Address.ToString().TrimEnd('/'));
        var error = await Should.ThrowAsync<StripeException>(
            () => new SessionService(client).CreateAsync(Options(amount, currency), cancellationToken: Cancel));
        (error.HttpStatusCode, error.StripeError.Code).ShouldBe((System.Net.HttpStatusCode.BadRequest, code));
        var stranger = new StripeClient("sk_test_other", apiBase: play.Address.ToString().TrimEnd('/'));
        (await Should.ThrowAsync<StripeException>(
            () => new SessionService(stranger).GetAsync("cs_1", cancellationToken: Cancel)))
            .HttpStatusCode.ShouldBe(System.Net.HttpStatusCode.Unauthorized);
    }
}
