using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Play;

namespace Capsul.Tests.Features.Payments;

/// <summary>Automatic charges of which the provider says something strange, and money that goes back.</summary>
public sealed class AutoTopUpLieTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>A charge that was made, whose answer was lost, and which is another one afterwards.</summary>
    static async Task<PlaySession> LieAsync(PaymentWorld world, Action<PlaySession> lie)
    {
        await world.TurnOnAsync();
        await world.SweepAsync();
        world.Stripe.Faults.LoseAfter = 1;
        await world.LookAsync();
        world.Stripe.Faults.LoseAfter = null;
        var charge = world.Charges.ShouldHaveSingleItem();
        lie(charge);
        await world.WaitAsync(TimeSpan.FromMinutes(10));
        return charge;
    }

    [Theory]
    [InlineData("amount", "The provider says that $500.00 was charged instead of $20.00, and nothing was credited.")]
    [InlineData("currency", "It was paid in EUR, and nothing was credited")]
    [InlineData("customer", "The provider's answer is about another charge")]
    [InlineData("key", "The provider's answer is about another charge")]
    public async Task It_is_not_believed_and_the_operator_is_told(string what, string problem)
    {
        await using var world = await PaymentWorld.StartAsync();
        var customer = "";
        var charge = await LieAsync(world, c =>
        {
            if (what == "amount") c.Amount = 50_000;
            else if (what == "currency") c.Currency = "eur";
            // The call is made again, and its answer repeated; what is asked afterwards says something else.
            else if (what == "key") c.Metadata = KeyOf(PaymentKey.MakeForCharge());
        });
        if (what == "customer")
        {
            (await world.BalanceAsync()).ShouldBe(20);
            (customer, charge.Customer) = (charge.Customer, "cus_other");
            await world.WaitAsync(TimeSpan.FromDays(1));
        }
        (await world.BalanceAsync()).ShouldBe(0);
        var payment = await world.NewestChargeAsync();
        payment.Problem.ShouldStartWith(problem);
        (await world.AutoAsync()).OffBecause.ShouldBe(OffReason.Doubtful, "it is not charged again");
        world.Advance(TimeSpan.FromHours(2));
        (await world.SweepAsync()).ShouldBe(0);
        // It was a mistake there, and is right again.
        (charge.Amount, charge.Currency, charge.Metadata) = (2000, "usd", KeyOf(charge.Key));
        if (customer.Length > 0) charge.Customer = customer;
        await world.WaitAsync(TimeSpan.FromDays(31));
        (await world.BalanceAsync()).ShouldBe(20);
        (await world.NewestChargeAsync()).Problem.ShouldBe("");
        await world.AgreesAsync();
    }

    static Dictionary<string, string> KeyOf(string key) => new(StringComparer.Ordinal) { ["capsul_key"] = key };

    [Fact]
    public async Task A_refund_goes_back_by_the_card_and_is_not_charged_again()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        await world.ChargeAsync();
        var id = (await world.NewestChargeAsync()).Id;
        (await RefundPayment.RunAsync(
            world.Db, world.Settings, "ops", id, null, "a mistake", world.Hub.Time, Cancel)).OrThrow();
        (await world.AutoAsync()).OffBecause.ShouldBe(OffReason.Refunded);
        world.Advance(TimeSpan.FromHours(2));
        (await world.SweepAsync()).ShouldBe(0);
        await world.LookAsync();
        (world.Charges.ShouldHaveSingleItem().Refunded, await world.BalanceAsync()).ShouldBe((2000, 0));
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_disputed_charge_is_not_charged_again()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        await world.ChargeAsync();
        var charge = world.Charges.ShouldHaveSingleItem();
        world.Stripe.Books.Dispute(charge.Id, "needs_response");
        await world.SettleAsync();
        (await world.BalanceAsync()).ShouldBe(0);
        (await world.AutoAsync()).OffBecause.ShouldBe(OffReason.Disputed);
        world.Stripe.Books.Dispute(charge.Id, "won");
        await world.SettleAsync();
        (await world.BalanceAsync()).ShouldBe(20);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task Charges_after_a_backup_are_found_again_and_payouts_know_them()
    {
        await using var world = await PaymentWorld.StartAsync();
        var card = await world.TurnOnAsync();
        // Charges of which this database does not know: 120 of them, so that there are two pages.
        for (var n = 0; n < 120; n++)
            world.Stripe.Books.AddCharge(new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["amount"] = "2000",
                ["currency"] = "usd",
                ["customer"] = card.Customer,
                ["payment_method"] = card.Id,
                ["off_session"] = "true",
                ["confirm"] = "true",
                ["receipt_email"] = PaymentWorld.Email,
                ["metadata[capsul_key]"] = PaymentKey.MakeForCharge(),
            });
        var report = (await ReconcilePayments.RunAsync(world.Db, world.Providers.Find("stripe")!,
            world.Hub.Now.AddDays(-1), true, "ops", world.Hub.Time, Cancel)).OrThrow();
        report.Imported.ShouldBe(120);
        await world.LookAsync();
        (await world.BalanceAsync()).ShouldBe(2400);
        (await world.AutoAsync()).IsCapReached.ShouldBeTrue("they count for the cap");
        await world.AgreesAsync();
        world.Stripe.Books.PayOut();
        var payouts = (await ReconcilePayouts.RunAsync(world.Db, world.Settings, world.Providers.Find("stripe")!,
            world.Hub.Now.AddDays(-1), true, "ops", world.Hub.Time, Cancel)).OrThrow();
        payouts.Booked.ShouldBe(1);
        payouts.Differences.ShouldHaveSingleItem().What.ShouldBe("is not in the ledger");
        (await world.LedgerAsync("provider_clearing", "stripe")).ShouldBe(0);
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(3), InlineData(4)]
    public async Task Whatever_goes_wrong_no_more_than_the_cap_is_charged(int seed)
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        var random = new Random(seed);
        world.Stripe.Faults.Seed(seed);
        (world.Stripe.Faults.LostEvents, world.Stripe.Faults.RepeatedEvents) = (0.3, 0.5);
        (world.Stripe.Faults.LostAnswers, world.Stripe.Faults.ShufflesEvents) = (0.3, true);
        for (var n = 0; n < 60; n++)
        {
            switch (random.Next(6))
            {
                case 0: await world.TakeSeatAsync(); break;
                case 1: await world.SetAsync(threshold: random.Next(2) == 0 ? "500" : "5"); break;
                case 2: world.Stripe.Faults.IsDown = random.Next(3) == 0; break;
                case 3: await world.SettleAsync(); break;
                case 4: await world.SweepAsync(); break;
                default: world.Advance(TimeSpan.FromMinutes(random.Next(10, 400))); break;
            }
        }
        (world.Stripe.Faults.LostAnswers, world.Stripe.Faults.IsDown) = (0, false);
        foreach (var hours in (int[])[1, 2, 25, 50]) await world.WaitAsync(TimeSpan.FromHours(hours));
        world.Charges.Where(c => c.IsPaid).GroupBy(c => DateTimeOffset.FromUnixTimeSeconds(c.Created).Month)
            .ShouldAllBe(m => m.Sum(c => c.Amount) <= 6000);
        (await world.AutoAsync()).IsOpen.ShouldBeFalse();
        await world.AgreesAsync();
    }
}
