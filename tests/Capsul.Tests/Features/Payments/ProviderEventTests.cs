using System.Net.Http.Headers;
using System.Text;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Stripe;
using Capsul.Play;

namespace Capsul.Tests.Features.Payments;

/// <summary>Events of a provider: repeated, reordered, forged, refunds and disputes.</summary>
public sealed class ProviderEventTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Events_that_are_repeated_and_reordered_lead_to_the_same_rows()
    {
        await using var world = await PaymentWorld.StartAsync();
        world.Stripe.Faults.RepeatedEvents = 1;
        world.Stripe.Faults.ShufflesEvents = true;
        var (id, session) = await world.BeginAsync();
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        await world.SettleAsync();
        (await world.RowsAsync()).ShouldBe("20");
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_events", null, Cancel)).ShouldBe(3);
        (await world.Db.AskAsync<long>(
            "SELECT count(*) FROM provider_events WHERE payment = @id AND handled IS NOT NULL", new { id }, Cancel))
            .ShouldBe(3);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task An_event_that_comes_before_the_answer_of_the_checkout_finds_its_payment()
    {
        await using var world = await PaymentWorld.StartAsync();
        world.Stripe.Faults.LosesAnswers = true;
        await world.TryBeginAsync("20");
        await world.LookAsync();
        world.Stripe.Faults.LosesAnswers = false;
        world.Stripe.Books.Pay(world.Stripe.Books.Sessions.ShouldHaveSingleItem().Id);
        await world.SettleAsync();
        (await world.RowsAsync()).ShouldBe("20");
        await world.AgreesAsync();
    }

    static string Body(string id = "evt_1", string type = "checkout.session.completed") =>
        $$"""{"id":"{{id}}","object":"event","type":"{{type}}","data":{"object":{"object":"checkout.session"} } }""";

    static long At(PaymentWorld world, int seconds) => world.Hub.Time.GetUtcNow().ToUnixTimeSeconds() + seconds;

    static async Task<int> PostAsync(PaymentWorld world, string body, string? signature)
    {
        using var client = new HttpClient { BaseAddress = world.Hub.Address };
        using var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using var request = new HttpRequestMessage(HttpMethod.Post, "/webhooks/stripe") { Content = content };
        if (signature is not null) request.Headers.TryAddWithoutValidation("Stripe-Signature", signature);
        using var answer = await client.SendAsync(request, Cancel);
        return (int)answer.StatusCode;
    }

    static string Sign(string body, long seconds, string secret = PlayStripe.WebhookSecret) =>
        $"t={seconds},v1={StripeSignature.Make(secret, seconds, Encoding.UTF8.GetBytes(body))}";

    /// <summary>Also of a payment of which nothing became, and of more than a few.</summary>
    [Fact]
    public async Task Texts_of_events_go_after_a_while_whatever_became_of_their_payments()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, _) = await world.BeginAsync();
        await world.Db.ExecuteAsync("INSERT INTO provider_events (provider, event, type, received, body, payment) "
            + "SELECT 'stripe', 'old-' || n, 'x', @now - interval '91 days', 'Ada', @id "
            + "FROM generate_series(1, 1500) AS n UNION ALL SELECT 'stripe', 'new', 'x', @now, 'Ada', @id",
            new { now = world.Hub.Now, id }, Cancel);
        await world.Db.ExecuteAsync(
            ProviderEventSql.ForgetBodies, new { before = world.Hub.Now.AddDays(-90) }, Cancel);
        (await world.Db.ListAsync<string>("SELECT event FROM provider_events WHERE body = 'Ada'", null, Cancel))
            .ShouldBe(["new"]);
    }

    [Fact]
    public async Task Only_events_with_a_right_and_new_signature_are_taken()
    {
        await using var world = await PaymentWorld.StartAsync();
        var now = At(world, 0);
        string[] wrong =
        [
            "", "t=1", "nonsense", $"t={now},v1=00", $"t={now},v0={Sign(Body(), now).Split("v1=")[1]}",
            Sign(Body(), now, "whsec_other"), Sign(Body(), At(world, -301)), Sign(Body(), At(world, 301)),
            Sign(Body("evt_2"), now), $"t={now - 1},v1={Sign(Body(), now).Split("v1=")[1]}",
            $"t=99999999999999999999,v1=0", new string('a', 5000),
        ];
        foreach (var signature in wrong) (await PostAsync(world, Body(), signature)).ShouldBe(403, signature);
        (await PostAsync(world, Body(), null)).ShouldBe(403);
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_events", null, Cancel)).ShouldBe(0);
        world.Advance(TimeSpan.FromSeconds(1));
        (await PostAsync(world, Body(), null)).ShouldBe(403);
        (await world.Db.AskAsync<long>("SELECT count FROM provider_refusals", null, Cancel)).ShouldBe(wrong.Length + 2);
        (await PostAsync(world, Body(), Sign(Body(), At(world, -299)))).ShouldBe(200);
        now = At(world, 0);
        var secretsInTurn = $"t={now},v1=00,v1={Sign(Body("evt_2"), now).Split("v1=")[1]}";
        (await PostAsync(world, Body("evt_2"), secretsInTurn)).ShouldBe(200);
        (await PostAsync(world, Body("evt_2"), secretsInTurn)).ShouldBe(200);
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_events WHERE handled IS NOT NULL", null, Cancel))
            .ShouldBe(2);
    }

    [Fact]
    public async Task What_is_signed_but_is_no_event_is_refused()
    {
        await using var world = await PaymentWorld.StartAsync();
        var now = At(world, 0);
        foreach (var body in (string[])["", "{", "[]", "{}", "7", """{"id":5,"type":"x"}""", "\"text\""])
            (await PostAsync(world, body, Sign(body, now))).ShouldBe(400, body);
        var long1 = Body() + new string(' ', 70_000);
        (await PostAsync(world, long1, Sign(long1, now))).ShouldBe(413);
        var zero = Body().Replace("\"object\":\"event\"", "\"object\":\"\\u0000\"", StringComparison.Ordinal);
        (await PostAsync(world, zero, Sign(zero, now))).ShouldBe(200);
    }

    [Fact]
    public async Task Without_a_provider_there_is_no_webhook()
    {
        await using var hub = await Support.WebHub.StartAsync(Cancel);
        using var client = new HttpClient { BaseAddress = hub.Address };
        using var content = new StringContent("{}");
        (await client.PostAsync("/webhooks/stripe", content, Cancel)).StatusCode
            .ShouldBe(System.Net.HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_dispute_holds_the_money_and_restores_or_reverses_it_however_often_it_is_told()
    {
        await using var world = await PaymentWorld.StartAsync();
        world.Stripe.Faults.RepeatedEvents = 1;
        var (id, session) = await world.PaidAsync();
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        await world.SettleAsync();
        ((await world.FindAsync(id)).Dispute, await world.BalanceAsync()).ShouldBe(("open", 0));
        await world.AgreesAsync();
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        ((await world.FindAsync(id)).Dispute, await world.BalanceAsync()).ShouldBe(("won", 20));
        (await world.RowsAsync()).ShouldBe("20");
        await world.AgreesAsync();

        var (lost, second) = await world.PaidAsync("30");
        world.Stripe.Faults.LostEvents = 1;
        world.Stripe.Books.Dispute(second.Id, "under_review");
        world.Stripe.Books.Dispute(second.Id, "lost");
        await world.SettleAsync();
        await world.WaitAsync(TimeSpan.FromDays(40));
        ((await world.FindAsync(lost)).Dispute, await world.BalanceAsync()).ShouldBe(("lost", 20));
        (await world.LedgerAsync("provider_fees", "stripe")).ShouldBe(0.88m + 15 + 1.17m + 15);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task An_inquiry_of_a_bank_moves_no_money()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        world.Stripe.Books.Dispute(session.Id, "warning_needs_response");
        await world.SettleAsync();
        ((await world.FindAsync(id)).Dispute, await world.BalanceAsync()).ShouldBe(("", 20));
    }
}
