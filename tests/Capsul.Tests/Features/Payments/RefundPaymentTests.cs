using Capsul.Foundation;
using Capsul.Hub.Features.Payments;

namespace Capsul.Tests.Features.Payments;

/// <summary>Money that goes back, once, whatever happens to the call.</summary>
public sealed class RefundPaymentTests
{
    static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static Task<Outcome<decimal>> RefundAsync(PaymentWorld world, long id, string? amount, string reason = "asked") =>
        RefundPayment.RunAsync(
            world.Db, world.Settings, PaymentWorld.Operator, id, amount, reason, world.Hub.Time, Cancel);

    [Fact]
    public async Task A_part_and_then_the_rest_go_back()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        (await RefundAsync(world, id, "5")).OrThrow().ShouldBe(5);
        // It is not spendable from now on, although nobody has told the provider yet.
        ((await world.BalanceAsync()), session.Refunded).ShouldBe((15, 0));
        await world.SettleAsync();
        session.Refunded.ShouldBe(500);
        (await world.RowsAsync()).ShouldBe("-20 15");
        await world.AgreesAsync();
        (await RefundAsync(world, id, "15.01")).Problem!.Message.ShouldContain("At most 15.00");
        (await RefundAsync(world, id, "")).OrThrow().ShouldBe(15);
        (await RefundAsync(world, id, "")).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        await world.SettleAsync();
        (await world.RowsAsync()).ShouldBe("-20 -15");
        session.Refunds.Select(r => r.Amount).ShouldBe([500, 1500]);
        await world.AgreesAsync();
        (await world.Db.ListAsync<string>(
            "SELECT actor || ' ' || detail FROM audit_lines WHERE action = 'refund_payment' ORDER BY id", null, Cancel))
            .ShouldBe(["ops@example.org 5; asked", "ops@example.org 15; asked"]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(30)]
    public async Task A_refund_whose_answer_was_lost_is_sent_once(int hours)
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        (await RefundAsync(world, id, "5")).OrThrow();
        world.Stripe.Faults.FailsAfterActing = true;
        await world.LookAsync();
        for (var n = 0; n < hours; n++) await world.WaitAsync(Hour);
        world.Stripe.Faults.FailsAfterActing = false;
        await world.WaitAsync(Hour);
        session.Refunded.ShouldBe(500);
        (await world.RowsAsync()).ShouldBe("-20 15");
        await world.AgreesAsync();
    }

    [Fact]
    public async Task What_the_provider_refuses_counts_again_and_says_why()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        (await RefundAsync(world, id, "5")).OrThrow();
        // Somebody has sent all of it back at the provider meanwhile.
        world.Stripe.Books.AddRefund(
            new Dictionary<string, string> { ["payment_intent"] = session.Intent, ["amount"] = "1800" });
        await world.SettleAsync();
        var payment = await world.FindAsync(id);
        payment.Problem.ShouldContain("greater than unrefunded amount");
        (payment.Refunded, payment.Credited).ShouldBe((18, 2));
        (await world.RowsAsync()).ShouldBe("-20 -15 2");
        await world.AgreesAsync();
    }

    [Fact]
    public async Task Nothing_is_sent_back_twice_by_a_dispute_and_a_refund()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        (await RefundAsync(world, id, null)).Problem!.Message.ShouldContain("disputed");
        world.Stripe.Books.Dispute(session.Id, "lost");
        await world.SettleAsync();
        (await RefundAsync(world, id, null)).Problem!.Message.ShouldContain("Nothing of this payment is left");
        await world.AgreesAsync();
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("5,00")]
    [InlineData("1.001")]
    [InlineData("20.01")]
    [InlineData("all")]
    public async Task Refuses_amounts_that_are_none(string amount)
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, _) = await world.PaidAsync();
        (await RefundAsync(world, id, amount)).Problem!.Field.ShouldBe("Amount");
        (await RefundAsync(world, id, "5", "")).Problem!.Field.ShouldBe("Reason");
        (await RefundAsync(world, 99, "5")).Problem!.Kind.ShouldBe(ProblemKind.NotFound);
        (await world.RowsAsync()).ShouldBe("20");
    }
}
