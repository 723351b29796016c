using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Receipts;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Play;
using Capsul.Tests.Features.Payments;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Closings;

/// <summary>Payments through a provider, of accounts that are closed.</summary>
public sealed partial class ClosedPaymentTests
{
    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static async Task<int> LookAsync(PaymentWorld world) => await new ClosingSweep(world.Db,
        new Fence(world.Db, new Listener(world.Db, world.Hub.Time, NullLogger<Listener>.Instance)), world.Settings,
        world.Hub.Time, NullLogger<ClosingSweep>.Instance).LookAsync(world.Epoch, Cancel);

    /// <summary>Closed, and settled.</summary>
    static async Task CloseAsync(PaymentWorld world)
    {
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, null, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        world.Advance(TimeSpan.FromDays(3));
        (await LookAsync(world)).ShouldBe(1);
    }

    static async Task<string> PayoutsAsync(PaymentWorld world) => string.Join(' ', await world.Db.ListAsync<string>(
        "SELECT state || ' ' || trim_scale(amount) || CASE WHEN late THEN ' late' ELSE '' END FROM account_payouts "
            + "ORDER BY id", null, Cancel));

    static async Task AgreesAsync(PaymentWorld world) =>
        (await VerifyLedger.RunAsync(world.Db, Cancel)).Differences.ShouldBeEmpty();

    [Fact]
    public async Task The_provider_sends_it_back()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (_, session) = await world.PaidAsync();
        await CloseAsync(world);
        (await PayoutsAsync(world)).ShouldBe("sent 20");
        await world.SettleAsync();
        session.Refunded.ShouldBe(2000);
        (await LookAsync(world)).ShouldBe(1);
        (await LookAsync(world)).ShouldBe(0);
        (await PayoutsAsync(world)).ShouldBe("done 20");
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
    }

    [Fact]
    public async Task What_the_provider_refuses_is_paid_by_hand()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (_, session) = await world.PaidAsync();
        await CloseAsync(world);
        // The provider lets go of none of it: somebody has sent a part back there meanwhile.
        world.Stripe.Books.AddRefund(
            new Dictionary<string, string> { ["payment_intent"] = session.Intent, ["amount"] = "100" });
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("open 19");
        (await LookAsync(world)).ShouldBe(0);
        (await world.LedgerAsync("customer", "")).ShouldBe(-19);
        await AgreesAsync(world);
    }

    [Fact]
    public async Task What_arrives_afterwards_waits_and_can_be_sent_back()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.BeginAsync();
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, null, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        (await world.TryBeginAsync("5")).Problem!.Message.ShouldContain("being closed");
        world.Advance(TimeSpan.FromDays(3));
        (await LookAsync(world)).ShouldBe(1);
        (await LookAsync(world)).ShouldBe(1);
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("open 20 late");
        (await world.LedgerAsync("to_be_assigned", "")).ShouldBe(-20);
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
        (await Capsul.Hub.Features.Payments.RefundPayment.RunAsync(
            world.Db, world.Settings, "ops", id, null, "closed", world.Hub.Time, Cancel)).OrThrow();
        await world.SettleAsync();
        session.Refunded.ShouldBe(2000);
        (await PayoutsAsync(world)).ShouldBe("void 20 late");
        (await world.LedgerAsync("to_be_assigned", "")).ShouldBe(0);
        await AgreesAsync(world);
    }

    /// <summary>Of money that is set aside nobody knows yet whose it is, and so whose tax.</summary>
    [Fact]
    public async Task What_arrives_afterwards_is_not_taxed_also_when_a_part_is_sent_back_at_another_rate()
    {
        await using var world = await PaymentWorld.StartAsync();
        await SellAsync("19");
        var (id, session) = await world.BeginAsync();
        await CloseAsync(world);
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("open 20 late");
        (await world.LedgerAsync("tax", "")).ShouldBe(0);
        world.Advance(TimeSpan.FromDays(1));
        await SellAsync("50");
        (await RefundPayment.RunAsync(
            world.Db, world.Settings, "ops", id, "5", "closed", world.Hub.Time, Cancel)).OrThrow();
        await world.SettleAsync();
        (await world.LedgerAsync("tax", "")).ShouldBe(0);
        await AgreesAsync(world);

        async Task SellAsync(string percent) => (await SetSeller.RunAsync(world.Db, "ops",
            new SetSeller.Input("Meadow Co-op", "1 Lane", "", "VAT", percent, null), world.Hub.Time, Cancel)).OrThrow();
    }

    [Fact]
    public async Task A_dispute_after_the_end_breaks_nothing()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (_, session) = await world.PaidAsync();
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, ClosingMoney.Fund, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        world.Advance(TimeSpan.FromDays(3));
        (await LookAsync(world)).ShouldBe(1);
        (await world.LedgerAsync("solidarity_fund", "")).ShouldBe(-20);
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        (await world.LedgerAsync("customer", "")).ShouldBe(20, "what was given was not paid, and is owed");
        await AgreesAsync(world);
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
    }

    /// <summary>Bitcoin is claimed by whoever the account was of, by an email; the rest is paid by hand.</summary>
    [Theory]
    [InlineData(20, "done 20", 0)]
    [InlineData(8, "open 12", -12)]
    [InlineData(0, "open 20", -20)]
    public async Task Bitcoin_is_claimed_and_the_rest_is_paid_by_hand(int claimed, string payouts, int owed)
    {
        await using var server = await PlayBtcPay.StartAsync(Cancel);
        await using var world = await PaymentWorld.StartAsync(server.Settings);
        server.Time = world.Hub.Time;
        (await world.TryBeginAsync("20", provider: "btcpay")).OrThrow();
        await world.LookAsync();
        server.Invoices[0].Status = "Settled";
        server.Invoices[0].Payments.Add((0.0004m, "Settled"));
        await world.WaitAsync(TimeSpan.FromHours(1));
        await CloseAsync(world);
        await world.LookAsync();
        var pull = server.Pulls.All.ShouldHaveSingleItem();
        (await world.Db.AskAsync<string>(
            "SELECT body FROM mails WHERE recipient = @Email", new { PaymentWorld.Email }, Cancel))
            .ShouldContain($"pull-payments/{pull.Id}");
        if (claimed > 0) server.Pulls.Claim(pull.Id, "bc1q", claimed).Payout!.State = "Completed";
        (await PayoutsAsync(world)).ShouldBe("sent 20");
        await world.WaitAsync(Capsul.Hub.Features.Payments.RefundPayment.ClaimFor + TimeSpan.FromHours(2));
        (await LookAsync(world)).ShouldBe(owed == 0 ? 1 : 0);
        (await PayoutsAsync(world)).ShouldBe(payouts);
        (await world.LedgerAsync("customer", "")).ShouldBe(owed);
        (await world.Db.AskAsync<long>(
            "SELECT count(*) FROM mails WHERE recipient = @Email", new { PaymentWorld.Email }, Cancel))
            .ShouldBe(owed == 0 ? 0 : 1, "nobody is remembered when all is paid");
        await AgreesAsync(world);
    }
}
