using Capsul.Foundation;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Payments;
using Capsul.Play;
using Capsul.Tests.Features.Payments;

namespace Capsul.Tests.Features.Closings;

/// <summary>Payouts of closed accounts say what is owed, whatever becomes of the payments, and nothing is paid twice.
/// </summary>
public sealed partial class ClosedPaymentTests
{
    static Task<Outcome<decimal>> PayOutAsync(PaymentWorld world, long id, string by = "bank") =>
        PayOut.RunAsync(world.Db, "ops", id, by, "transfer", world.Hub.Time, Cancel);

    static Task<Outcome<decimal>> RefundAsync(PaymentWorld world, long id, string? amount = null) =>
        RefundPayment.RunAsync(world.Db, world.Settings, "ops", id, amount, "closed", world.Hub.Time, Cancel);

    /// <summary>So much of what was paid is not there any more.</summary>
    static async Task GiveAsync(PaymentWorld world, decimal dollars) => await world.Db.ExecuteAsync(
        "INSERT INTO payments (created, email, dollars, method) VALUES (@now, @Email, -@dollars, 'solidarity')",
        new { now = world.Hub.Now, PaymentWorld.Email, dollars }, Cancel);

    static async Task ByHandAsync(PaymentWorld world)
    {
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, ClosingMoney.Hand, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        world.Advance(TimeSpan.FromDays(3));
        (await LookAsync(world)).ShouldBe(1);
    }

    [Fact]
    public async Task A_refund_that_is_tried_again_is_not_paid_by_hand_too()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        await CloseAsync(world);
        // Stripe refuses the refund: the payment is disputed.
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        (await LookAsync(world)).ShouldBe(1);
        (await PayoutsAsync(world)).ShouldBe("void 20");
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("open 20");
        // The alert says to try it again.
        (await RefundAsync(world, id)).OrThrow();
        await world.SettleAsync();
        session.Refunded.ShouldBe(2000);
        (await PayoutsAsync(world)).ShouldBe("void 20");
        (await PayOutAsync(world, 1)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_part_that_is_sent_back_is_not_paid_by_hand_too()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        await GiveAsync(world, 3);
        await ByHandAsync(world);
        (await PayoutsAsync(world)).ShouldBe("open 17");
        (await RefundAsync(world, id, "10")).OrThrow();
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("open 7");
        (await PayOutAsync(world, 1)).OrThrow().ShouldBe(7);
        (await PayoutsAsync(world)).ShouldBe("done 7");
        (await RefundAsync(world, id, "3.01")).Problem!.Message.ShouldContain("At most 3.00");
        await world.WaitAsync(TimeSpan.FromDays(2));
        (session.Refunded, await world.LedgerAsync("customer", "")).ShouldBe((1000, 0));
        await AgreesAsync(world);
    }

    [Fact]
    public async Task What_was_paid_by_hand_is_not_sent_back_too()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        await ByHandAsync(world);
        (await PayOutAsync(world, 1)).OrThrow().ShouldBe(20);
        (await RefundAsync(world, id)).Problem!.Message.ShouldContain("taken back here by hand");
        await world.WaitAsync(TimeSpan.FromDays(2));
        (session.Refunded, await PayoutsAsync(world)).ShouldBe((0, "done 20"));
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
    }

    [Fact]
    public async Task A_dispute_takes_an_open_payout_away_and_gives_it_back()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (_, session) = await world.PaidAsync();
        await GiveAsync(world, 5);
        await ByHandAsync(world);
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("void 15");
        (await PayOutAsync(world, 1)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("open 15");
        (await PayOutAsync(world, 1)).OrThrow().ShouldBe(15);
        // The bank disputes it after all, and loses again: what was paid by hand is not owed a second time.
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("done 15");
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
    }

    /// <summary>Nobody knows yet whose the money is: the account waits, and its owner is not forgotten.</summary>
    [Fact]
    public async Task An_account_is_not_settled_while_a_payment_is_disputed()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (_, session) = await world.PaidAsync();
        await GiveAsync(world, 5);
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, null, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        world.Advance(TimeSpan.FromDays(4));
        (await LookAsync(world)).ShouldBe(0);
        using var ops = await world.Hub.SignInAsync(PaymentWorld.Operator, Cancel);
        (await ops.ReadAsync("/operator/closings", Cancel)).ShouldContain("waits until a dispute");
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        (await LookAsync(world)).ShouldBe(1);
        (await PayoutsAsync(world)).ShouldBe("sent 15");
        // Another one: the account is not finished, so that its owner can be paid if it is won.
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        (await LookAsync(world)).ShouldBe(1);
        (await LookAsync(world)).ShouldBe(0);
        (await PayoutsAsync(world)).ShouldBe("void 15");
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        (await LookAsync(world)).ShouldBe(0);
        (await PayoutsAsync(world)).ShouldBe("open 15");
        (await ops.ReadAsync("/operator/closings", Cancel)).ShouldContain($"$15.00 to {PaymentWorld.Email}");
        (await PayOutAsync(world, 1)).OrThrow();
        (await LookAsync(world)).ShouldBe(1);
        await AgreesAsync(world);
    }

    /// <summary>The bank did not take it, and Stripe says so long after the account was finished.</summary>
    [Fact]
    public async Task A_refund_that_fails_afterwards_is_owed_again()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (_, session) = await world.PaidAsync();
        await GiveAsync(world, 2);
        await CloseAsync(world);
        await world.SettleAsync();
        (await LookAsync(world)).ShouldBe(1);
        (await PayoutsAsync(world)).ShouldBe("done 18");
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        world.Advance(TimeSpan.FromDays(9));
        world.Stripe.Books.TurnRefund(session.Refunds[0].Id, "failed", "declined");
        await world.SettleAsync();
        (await PayoutsAsync(world)).ShouldBe("open 18");
        (await world.LedgerAsync("customer", "")).ShouldBe(-18);
        (await PayOutAsync(world, 1)).OrThrow().ShouldBe(18);
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
    }

    /// <summary>A payment that operators take back by SQL is not owed; one that they validate again is.</summary>
    [Fact]
    public async Task A_payout_follows_what_is_done_by_hand()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.PaidAsync();
        await world.Db.ExecuteAsync(
            "INSERT INTO payments (created, email, dollars, method) VALUES (@now, @Email, 8, 'cash')",
            new { now = world.Hub.Now, PaymentWorld.Email }, Cancel);
        await ByHandAsync(world);
        (await PayoutsAsync(world)).ShouldBe("open 8 open 20");
        await world.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        (await PayoutsAsync(world)).ShouldBe("void 8 void 20");
        (await PayOutAsync(world, 1)).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        await world.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE", null, Cancel);
        (await PayoutsAsync(world)).ShouldBe("open 8 open 20");
        (await PayOutAsync(world, 1)).OrThrow().ShouldBe(8);
        (await PayoutsAsync(world)).ShouldBe("done 8 open 20");
        await AgreesAsync(world);
    }

    [Fact]
    public void Nothing_is_paid_for_a_payment_that_does_not_count()
    {
        var payout = new ClosingPayoutRow(1, 1, "closed-1", 7, "stripe", 20, 1, 20, "open", false, default, "", "");
        PayOut.Decide(payout, "bank").ShouldBeNull();
        PayOut.Decide(payout with { Counts = 19.99m }, "bank")!.Message.ShouldContain("Payment 7 does not count");
    }

    /// <summary>Who paid it, and how, is in its row; and when it comes once more, it is owed once more.</summary>
    [Fact]
    public async Task What_arrives_afterwards_can_be_paid_by_hand()
    {
        await using var server = await PlayBtcPay.StartAsync(Cancel);
        await using var world = await PaymentWorld.StartAsync(server.Settings);
        server.Time = world.Hub.Time;
        (await world.TryBeginAsync("20", provider: "btcpay")).OrThrow();
        await world.LookAsync();
        await CloseAsync(world);
        server.Invoices[0].Status = "Expired";
        server.Invoices[0].Payments.Add((0.0002m, "Settled"));
        await world.WaitAsync(TimeSpan.FromHours(1));
        (await PayoutsAsync(world)).ShouldBe("open 10 late");
        (await PayOutAsync(world, 1)).OrThrow().ShouldBe(10);
        (await PayoutsAsync(world)).ShouldBe("done 10 late");
        (await world.Db.AskAsync<string>("SELECT actor || ' ' || note FROM account_payouts", null, Cancel))
            .ShouldBe("ops transfer");
        // The same amount again.
        server.Invoices[0].Payments.Add((0.0002m, "Settled"));
        await world.WaitAsync(TimeSpan.FromDays(5));
        (await PayoutsAsync(world)).ShouldBe("done 10 late open 10 late");
        (await world.LedgerAsync("to_be_assigned", "")).ShouldBe(-10);
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
    }

    /// <summary>More coins for an invoice that was paid before are new money.</summary>
    [Fact]
    public async Task More_of_a_payment_that_was_settled_is_owed()
    {
        await using var server = await PlayBtcPay.StartAsync(Cancel);
        await using var world = await PaymentWorld.StartAsync(server.Settings);
        server.Time = world.Hub.Time;
        (await world.TryBeginAsync("20", provider: "btcpay")).OrThrow();
        await world.LookAsync();
        server.Invoices[0].Status = "Expired";
        server.Invoices[0].Payments.Add((0.0002m, "Settled"));
        await world.WaitAsync(TimeSpan.FromHours(1));
        await GiveAsync(world, 4);
        await CloseAsync(world);
        await world.LookAsync();
        (await PayoutsAsync(world)).ShouldBe("sent 6");
        server.Invoices[0].Payments.Add((0.0001m, "Settled"));
        await world.WaitAsync(TimeSpan.FromHours(4));
        (await PayoutsAsync(world)).ShouldBe("sent 6 open 5");
        (await world.LedgerAsync("customer", "")).ShouldBe(-5);
        await AgreesAsync(world);
        // Nobody claims the refund: all of it is paid by hand, once.
        await world.WaitAsync(RefundPayment.ClaimFor + TimeSpan.FromHours(2));
        await LookAsync(world);
        (await PayoutsAsync(world)).ShouldBe("open 11 void 5");
        (await PayOutAsync(world, 1)).OrThrow().ShouldBe(11);
        (await world.LedgerAsync("customer", "")).ShouldBe(0);
        await AgreesAsync(world);
    }
}
