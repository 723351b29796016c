using System.Text.Json;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Features.Payments.Stripe;
using Capsul.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Capsul.Tests.Features.Payments;

/// <summary>What is with a provider, by the ledger, is what the provider says.</summary>
public sealed class ReconcilePayoutsTests
{
    static readonly DateTime Long = DateTime.UnixEpoch.AddYears(50);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static PayoutMovement Of(decimal net, string? charge = "pi_1", string? key = null) =>
        new(charge is null ? "stripe_fee" : "charge", net, charge, key,
            charge is null ? MovementNature.Fee : MovementNature.Other);

    static ReconcilePayouts.Difference? Compare(
        decimal amount, string status, PayoutMovement[] movements, PayoutRow? known = null, string currency = "USD") =>
        ReconcilePayouts.Compare(
            new FoundPayout("po_1", amount, currency, new DateOnly(2026, 3, 2), status, movements), known,
            new HashSet<string>(["pi_1"], StringComparer.Ordinal), "USD");

    [Fact]
    public void What_is_of_payments_here_and_what_is_not_is_told_apart()
    {
        Compare(9, "paid", [Of(9)])!.Booking.ShouldBe(new(9, 0));
        Compare(7, "paid", [Of(9), Of(-2, null)])!.Booking.ShouldBe(new(7, 2));
        var mixed = Compare(57, "paid", [Of(9), Of(-2, null), Of(50, "pi_other")])!;
        (mixed.Booking, mixed.What).ShouldBe(
            (new(7, 2), "is not in the ledger; 50 of it belongs to no payment here (charge 50)"));
        Compare(-5, "paid", [Of(-5)])!.Booking.ShouldBe(new(-5, 0), "it was taken from the bank");
        Compare(9, "paid", [])!.Booking.ShouldBe(new(9, 0), "nobody knows what is in it");
    }

    /// <summary>As Stripe lists them: what is said there to be a fee is one, and nothing else.</summary>
    [Theory]
    [InlineData("stripe_fee", "fee", 97, 3)]
    [InlineData("stripe_fee", null, 97, 3)]
    [InlineData("tax_fee", "tax", 97, 3)]
    [InlineData("network_cost", "network_cost", 97, 3)]
    [InlineData("stripe_fx_fee", null, 97, 3)]
    [InlineData("adjustment", "fee", 97, 3)]
    [InlineData("reserved_funds", "risk_reserved_funds", 97, 0)]
    [InlineData("payout_minimum_balance_hold", "payout_minimum_balance_hold", 97, 0)]
    [InlineData("application_fee", "platform_earning", 100, 0)]
    [InlineData("topup", "topup", 100, 0)]
    [InlineData("transfer", "transfer", 100, 0)]
    [InlineData("adjustment", "other_adjustment", 100, 0)]
    [InlineData("charge", "charge", 100, 0)]
    [InlineData("something_new", null, 100, 0)]
    public void Only_what_Stripe_calls_a_fee_is_booked_as_one(string type, string? category, int bank, int fees)
    {
        static JsonElement Json(string text) => JsonDocument.Parse(text).RootElement;
        var said = category is null ? "null" : $"\"{category}\"";
        var found = StripeReading.Payout(Json("""
            {"id": "po_1", "amount": 9700, "currency": "usd", "arrival_date": 1772409600, "status": "paid"}
            """), [
            Json("""{"type": "charge", "net": 10000, "source": {"payment_intent": "pi_1"}}"""),
            Json($$"""{"type": "{{type}}", "reporting_category": {{said}}, "net": -300, "source": {"id": "x"} }"""),
        ]);
        var difference = ReconcilePayouts.Compare(
            found, null, new HashSet<string>(["pi_1"], StringComparer.Ordinal), "USD")!;
        difference.Booking.ShouldBe(new(bank, fees));
        difference.What.ShouldBe("is not in the ledger" + (bank == 100
            ? $"; -3 of it belongs to no payment here ({type} -3)" : ""));
    }

    [Fact]
    public void What_cannot_be_right_is_for_a_person()
    {
        Compare(9, "moving", [Of(9)]).ShouldBeNull();
        Compare(9, "failed", [Of(9)]).ShouldBeNull("the ledger has never had it");
        Compare(9, "paid", [Of(8)])!.Booking.ShouldBeNull();
        Compare(9, "paid", [Of(9)], currency: "EUR")!.Booking.ShouldBeNull();
        Compare(9, "paid", [Of(9, "pi_lost", PaymentKey.Make())])!.Booking.ShouldBeNull();
        var known = new PayoutRow("po_1", 9, 0, Returned: false);
        Compare(9, "paid", [Of(9)], known).ShouldBeNull();
        Compare(9, "failed", [Of(9)], known)!.CameBack.ShouldBeTrue();
        Compare(9, "failed", [Of(9)], known with { Returned = true }).ShouldBeNull();
    }

    [Fact]
    public async Task A_payout_is_booked_once_and_what_came_back_is_with_the_provider_again()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.PaidAsync("20");
        var (id, _) = await world.PaidAsync("30");
        (await RefundPayment.RunAsync(
            world.Db, world.Settings, "ops", id, "10", "asked", world.Hub.Time, Cancel)).OrThrow();
        await world.WaitAsync(TimeSpan.FromMinutes(1));
        await world.SettleAsync();
        var (_, disputed) = await world.PaidAsync("15");
        world.Stripe.Books.Dispute(disputed.Id, "lost");
        await world.SettleAsync();
        var with = await ClearingAsync(world);
        with.ShouldNotBe(0);
        var payout = world.Stripe.Books.PayOut(fee: 200);
        (payout.Amount / 100m).ShouldBe(with - 2);

        var found = await ReconcileAsync(world, book: false);
        found.Differences.ShouldHaveSingleItem().What.ShouldBe("is not in the ledger");
        found.Sent.ShouldBe(new ComparedSums(with - 2, 0));
        (await ClearingAsync(world)).ShouldBe(with, "nothing was booked yet");
        (await ReconcileAsync(world, book: true)).Booked.ShouldBe(1);
        found = await ReconcileAsync(world, book: true);
        found.Differences.ShouldBeEmpty();
        found.Sent.ShouldBe(new ComparedSums(with - 2, with - 2));
        await BooksAreAsync(world, clearing: 0, bank: with - 2);

        payout.Status = "failed";
        (await ReconcileAsync(world, book: true)).Booked.ShouldBe(1);
        (await ReconcileAsync(world, book: true)).Differences.ShouldBeEmpty();
        (await ReconcileAsync(world, book: true)).Sent.ShouldBe(new ComparedSums(0, 0));
        await BooksAreAsync(world, clearing: with, bank: 0);
    }

    /// <summary>Its payments come first: otherwise they would be taken for somebody else's.</summary>
    [Fact]
    public async Task A_payout_of_payments_that_the_database_lost_waits_for_them()
    {
        await using var world = await PaymentWorld.StartAsync();
        var provider = ProviderOf(world);
        var checkout = (await provider.CreateCheckoutAsync(new CheckoutRequest(
            PaymentKey.Make(), "bob@example.org", 40, "USD", "https://example.org/"), Cancel)).OrThrow();
        world.Stripe.Books.Pay(checkout.Reference);
        world.Stripe.Books.PayOut();
        (await ReconcileAsync(world, book: true)).Booked.ShouldBe(0);
        (await ReconcilePayments.RunAsync(
            world.Db, provider, Long, import: true, "test", world.Hub.Time, Cancel)).OrThrow().Imported.ShouldBe(1);
        (await ReconcileAsync(world, book: true)).Booked.ShouldBe(0, "nobody has asked about it yet");
        await world.LookAsync();
        (await ReconcileAsync(world, book: true)).Booked.ShouldBe(1);
        await BooksAreAsync(world, clearing: 0, bank: 40 - 1.46m);
    }

    [Theory]
    [InlineData("DELETE FROM provider_payouts", "provider_payouts_stay")]
    [InlineData("UPDATE provider_payouts SET amount = 1", "provider_payouts_stay")]
    [InlineData("INSERT INTO provider_payouts (provider, reference, arrived, amount, fees, recorded, actor) "
        + "VALUES ('stripe', 'po_1', now(), 9, 0, now(), '')", "provider_payouts_once")]
    [InlineData("INSERT INTO provider_payouts (provider, reference, arrived, amount, fees, recorded, actor) "
        + "VALUES ('stripe', 'po_2', now(), 'NaN', 0, now(), '')", "provider_payouts_amount_check")]
    public async Task The_database_refuses(string sql, string constraint)
    {
        await using var database = await TestDatabase.CreateAsync();
        await database.Db.ExecuteAsync("INSERT INTO provider_payouts (provider, reference, arrived, amount, fees, "
            + "recorded, actor) VALUES ('stripe', 'po_1', now(), 9, 0.50, now(), '')", null, Cancel);
        (await Should.ThrowAsync<PostgresException>(() => database.Db.ExecuteAsync(sql, null, Cancel)))
            .ConstraintName.ShouldBe(constraint);
    }

    static async Task BooksAreAsync(PaymentWorld world, decimal clearing, decimal bank)
    {
        (await ClearingAsync(world)).ShouldBe(clearing);
        (await world.LedgerAsync("bank", "")).ShouldBe(bank);
        (await Capsul.Hub.Features.Ledger.VerifyLedger.RunAsync(world.Db, Cancel)).Differences.ShouldBeEmpty();
    }

    static Task<decimal> ClearingAsync(PaymentWorld world) => world.LedgerAsync("provider_clearing", "stripe");

    static IPaymentProvider ProviderOf(PaymentWorld world) =>
        world.Hub.Services.GetRequiredService<PaymentProviders>().Find("stripe")!;

    static async Task<ReconcilePayouts.Report> ReconcileAsync(PaymentWorld world, bool book) =>
        (await ReconcilePayouts.RunAsync(world.Db, world.Settings, ProviderOf(world), Long, book, "test",
            world.Hub.Time, Cancel)).OrThrow();
}
