using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Payments;

/// <summary>Automatic top-up, as people and operators see it. It is 1 March 2026, 12:00.</summary>
public sealed class AutoTopUpTests
{
    static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_person_saves_a_card_and_is_charged_when_the_balance_is_low()
    {
        await using var world = await PaymentWorld.StartAsync();
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.ReadAsync("/balance", Cancel)).ShouldContain("Automatic top-up");
        var begun = await ada.PostAsync("/balance/auto", "/balance/auto?handler=Card", Cancel).ReadAsync(Cancel);
        begun.Page.ShouldContain("We are asking the payment provider for a page");
        begun.Page.ShouldContain("content=\"1;url=/balance/auto?go=true&waited=true\"");
        await world.LookAtCardsAsync();
        (await ada.ReadAsync("/balance/auto?go=true&waited=true", Cancel)).ShouldContain("To save a card");
        var page = world.Stripe.Books.CardPages.ShouldHaveSingleItem();
        page.SuccessUrl.ShouldBe($"{world.Hub.Address}balance/auto?returned=1");
        world.Stripe.Books.EnterCard(page.Id);
        (await ada.ReadAsync("/balance/auto?returned=1", Cancel)).ShouldContain("If you have entered one");
        await world.LookAtCardsAsync();
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("Visa that ends in 4242");
        (await world.SweepAsync()).ShouldBe(0, "it is off until the person turns it on");
        var on = await ada.PostAsync(
            "/balance/auto", Cancel, ("Threshold", "5"), ("Amount", "20"), ("Cap", "60")).ReadAsync(Cancel);
        on.Page.ShouldContain("Automatic top-up is on: $20.00 when your balance falls below $5.00.");
        await world.SweepAsync();
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("Your card is being charged $20.00");
        (await ada.ReadAsync("/balance/payments/1", Cancel)).ShouldContain("Your saved card is being charged");
        await world.LookAsync();
        (await world.BalanceAsync()).ShouldBe(20);
        (await ada.ReadAsync("/balance", Cancel)).ShouldContain("Automatic top-up is on");
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("$20.00 was charged automatically this month");
        (await ada.ReadAsync("/balance/payments", Cancel)).ShouldContain("paid, automatic");
        (await world.LedgerAsync("provider_fees", "stripe")).ShouldBe(0.88m);
        world.Charges.ShouldHaveSingleItem().Email.ShouldBe(PaymentWorld.Email, "the provider sends a receipt");
        (await world.SweepAsync()).ShouldBe(0);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_declined_card_makes_longer_pauses_and_then_turns_it_off()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync("insufficient_funds");
        for (var minute = 0; minute < 60 * 24 * 12; minute += 30)
        {
            await world.ChargeAsync();
            world.Advance(TimeSpan.FromMinutes(30));
        }
        var charges = world.Charges;
        charges.Count.ShouldBe(4);
        charges.ShouldAllBe(c => c.Status == "canceled" && !c.IsPaid);
        var apart = charges.Zip(charges.Skip(1), (a, b) => TimeSpan.FromSeconds(b.Created - a.Created)).ToList();
        apart.ShouldBe([TimeSpan.FromHours(6), TimeSpan.FromDays(1), TimeSpan.FromDays(3)]);
        var set = await world.AutoAsync();
        (set.Enabled, set.OffBecause, set.Declines, set.Charged).ShouldBe((false, OffReason.Declined, 4, 0));
        (await world.MailsAsync()).ShouldBe([
            .. Enumerable.Repeat("Your automatic top-up at Capsul did not work", 3),
            "Automatic top-up at Capsul has been turned off"]);
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.ReadAsync("/balance", Cancel))
            .ShouldContain("has turned itself off, because your card was declined");
        (await ada.ReadAsync("/balance/payments/1", Cancel)).ShouldContain("There was not enough money");
        (await world.NewestChargeAsync()).Problem.ShouldBe("", "it is nothing for the operator");
        // Another card, and it goes on.
        await world.TurnOnAsync();
        await world.ChargeAsync();
        (await world.BalanceAsync()).ShouldBe(20);
        await world.AgreesAsync();
    }

    [Theory]
    [InlineData("generic_decline", "The bank declined the card.")]
    [InlineData("expired_card", "The card has expired.")]
    [InlineData("authentication_required", "Your bank wants you to approve the payment yourself")]
    public async Task A_decline_says_what_to_do(string decline, string says)
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync(decline);
        await world.ChargeAsync();
        var charge = await world.NewestChargeAsync();
        (charge.Status, charge.Decline, charge.NextPoll).ShouldBe(("failed", decline, null));
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain(says);
        (await ada.ReadAsync("/balance/payments", Cancel)).ShouldContain("declined, automatic");
    }

    [Fact]
    public async Task A_card_is_removed_at_the_provider_also_when_that_is_away_for_a_while()
    {
        await using var world = await PaymentWorld.StartAsync();
        var card = await world.TurnOnAsync();
        world.Stripe.Faults.IsDown = true;
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.PostAsync("/balance/auto", "/balance/auto?handler=Remove", Cancel).ReadAsync(Cancel)).Page
            .ShouldContain("The card has been removed, and automatic top-up is off.");
        await world.LookAtCardsAsync();
        card.Customer.ShouldNotBe("");
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("No card is saved");
        world.Stripe.Faults.IsDown = false;
        world.Stripe.Faults.LosesAnswers = true;
        world.Advance(Hour);
        await world.LookAtCardsAsync();
        world.Stripe.Faults.LosesAnswers = false;
        world.Advance(Hour);
        await world.LookAtCardsAsync();
        card.Customer.ShouldBe("");
        (await world.Db.AskAsync<string>("""
            SELECT status || coalesce(method, '') || coalesce(customer, '') || coalesce(reference, '') || last_four
            FROM saved_cards
            """, null, Cancel)).ShouldBe("removed");
        (await world.SweepAsync()).ShouldBe(0);
    }

    [Fact]
    public async Task Another_card_takes_the_place_of_the_one_before()
    {
        await using var world = await PaymentWorld.StartAsync();
        var old = await world.TurnOnAsync("generic_decline");
        await world.ChargeAsync();
        await world.SaveCardAsync();
        old.Customer.ShouldBe("");
        world.Advance(Hour);
        await world.ChargeAsync();
        (await world.BalanceAsync()).ShouldBe(20, "what the old card did counts no longer");
        (await world.AutoAsync()).Declines.ShouldBe(0);
    }

    [Fact]
    public async Task The_page_for_a_card_is_made_once_and_given_up_when_it_is_over()
    {
        await using var world = await PaymentWorld.StartAsync();
        world.Stripe.Faults.LosesAnswers = true;
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        for (var n = 0; n < 2; n++)
            await ada.PostAsync("/balance/auto", "/balance/auto?handler=Card", Cancel).ReadAsync(Cancel);
        await world.LookAtCardsAsync();
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("We are still asking");
        world.Stripe.Faults.LosesAnswers = false;
        world.Advance(Hour);
        await world.LookAtCardsAsync();
        var page = world.Stripe.Books.CardPages.ShouldHaveSingleItem();
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("Go to the page to enter a card");
        world.Stripe.Books.ExpireCardPage(page.Id);
        world.Advance(TimeSpan.FromDays(1));
        await world.LookAtCardsAsync();
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("Save a card");
        (await world.Db.AskAsync<string>("SELECT status FROM saved_cards", null, Cancel)).ShouldBe("failed");
    }

    [Fact]
    public async Task It_is_only_offered_where_the_provider_can_do_it()
    {
        await using var hub = await WebHub.StartAsync(Cancel, ("CAPSUL_BTCPAY_URL", "https://pay.example.org"),
            ("CAPSUL_BTCPAY_STORE", "store"), ("CAPSUL_BTCPAY_API_KEY", "key"));
        using var ada = await hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.ReadAsync("/balance", Cancel)).ShouldNotContain("Automatic top-up");
        (await ada.GetAsync("/balance/auto", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        (await ada.PostAsync("/balance", "/balance/auto?handler=Card", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
    }

    [Fact]
    public async Task Operators_see_it_and_turn_it_off_with_a_reason()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        using var ops = await world.Hub.SignInAsync(PaymentWorld.Operator, Cancel);
        (await ops.ReadAsync("/operator/auto-top-ups", Cancel)).ShouldContain(PaymentWorld.Email);
        (string, string)[] fields = [("Email", PaymentWorld.Email), ("Reason", "")];
        (await ops.PostAsync("/operator/auto-top-ups", "/operator/auto-top-ups?handler=Off", Cancel, fields)
            .ReadAsync(Cancel)).Page.ShouldContain("Give a reason");
        fields[1] = ("Reason", "asked by phone");
        (await ops.PostAsync("/operator/auto-top-ups", "/operator/auto-top-ups?handler=Off", Cancel, fields)
            .ReadAsync(Cancel)).Page.ShouldContain("Automatic top-up of ada@example.org is off.");
        (await world.SweepAsync()).ShouldBe(0);
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.ReadAsync("/balance/auto", Cancel)).ShouldContain("An operator has turned automatic top-up off.");
    }

    [Fact]
    public async Task Closing_an_account_turns_it_off_and_forgets_the_card()
    {
        await using var world = await PaymentWorld.StartAsync();
        var card = await world.TurnOnAsync();
        await world.ChargeAsync();
        using var export = new MemoryStream();
        await Capsul.Hub.Features.Accounts.ExportAccount.RunAsync(world.Db, PaymentWorld.Email, export, Cancel);
        var json = System.Text.Encoding.UTF8.GetString(export.ToArray());
        json.ShouldContain("\"last_four\": \"4242\"");
        json.ShouldContain("\"threshold\": 5");
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, null, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        (await world.AutoAsync()).OffBecause.ShouldBe(OffReason.Closing);
        await world.LookAtCardsAsync();
        card.Customer.ShouldBe("");
        (await world.SetAsync()).Problem!.Message.ShouldContain("being closed");
        world.Advance(TimeSpan.FromDays(3));
        await world.CloseAsync();
        await world.SettleAsync();
        world.Charges.ShouldHaveSingleItem().Refunded.ShouldBe(2000, "it goes back by the way it came");
        (await world.Db.AskAsync<long>("""
            SELECT (SELECT count(*) FROM auto_top_ups) + (SELECT count(*) FROM saved_cards
                WHERE status <> 'removed' OR last_four <> '' OR method IS NOT NULL)
            """, null, Cancel)).ShouldBe(0);
    }

    [Theory]
    [InlineData("5", "20", "60", null), InlineData("0", "20", "20", null), InlineData("500", "500", "9999", null)]
    [InlineData("-1", "20", "60", "Threshold"), InlineData("501", "20", "60", "Threshold")]
    [InlineData("", "20", "60", "Threshold"), InlineData("5", "4.99", "60", "Amount")]
    [InlineData("5", "500.01", "600", "Amount"), InlineData("5", "20", "19.99", "Cap")]
    [InlineData("5", "20", "1e9", "Cap"), InlineData("5.001", "20", "60", "Threshold")]
    [InlineData("5", "7,50", "60", "Amount"), InlineData("5", "20", "99999999999999999999999999999999", "Cap")]
    public void What_is_typed_is_checked(string threshold, string amount, string cap, string? field) =>
        SetAutoTopUp.Decide(new SetAutoTopUp.Facts(5, 500, 2, true, false),
            new SetAutoTopUp.Input(threshold, amount, cap)).Problem?.Field.ShouldBe(field);

    [Fact]
    public void Nobody_tries_out_many_cards() =>
        SaveCard.Decide(["stripe"], null, SaveCard.MaxPages).Problem!.Message.ShouldContain("many cards");

    [Fact]
    public void Nothing_is_set_without_a_card() => SetAutoTopUp.Decide(
        new SetAutoTopUp.Facts(5, 500, 2, false, false), new SetAutoTopUp.Input("5", "20", "60")).Problem!.Message
        .ShouldBe("Save a card first.");
}
