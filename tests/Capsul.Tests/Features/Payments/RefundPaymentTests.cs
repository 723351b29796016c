using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;

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

    static async Task<string> RefundsAsync(PaymentWorld world) => string.Join(' ', await world.Db.ListAsync<string>(
        "SELECT status || ' ' || trim_scale(sent) FROM provider_refunds ORDER BY id", null, Cancel));

    [Theory]
    [InlineData("pending")]
    [InlineData("requires_action")]
    public async Task A_refund_that_the_provider_has_not_sent_is_not_done(string status)
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        world.Stripe.Books.NewRefunds = status;
        (await RefundAsync(world, id, "5")).OrThrow();
        await world.SettleAsync();
        (await RefundsAsync(world)).ShouldBe("pending 0");
        (await world.RowsAsync()).ShouldBe("-20 15");
        await world.AgreesAsync();
        (await RefundAsync(world, id, "15.01")).Problem!.Message.ShouldContain("At most 15.00");
        (await world.Db.AskAsync<long>("SELECT count(*) FROM mails WHERE subject LIKE '%claim%'", null, Cancel))
            .ShouldBe(0);
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.ReadAsync($"/balance/payments/{id}", Cancel)).ShouldContain("$5.00 is being sent back.");
        // No event comes.
        world.Stripe.Books.TurnRefund(session.Refunds[0].Id, "succeeded");
        await world.WaitAsync(TimeSpan.FromHours(2));
        (await RefundsAsync(world)).ShouldBe("done 5");
        session.Refunds.Count.ShouldBe(1);
        await world.AgreesAsync();
    }

    /// <summary>Whether Stripe tells of it, or is only asked: within days.</summary>
    [Theory]
    [InlineData("pending", 0, true)]
    [InlineData("pending", 0, false)]
    [InlineData("succeeded", 0, true)]
    [InlineData("succeeded", 25, true)]
    [InlineData("succeeded", 25, false)]
    public async Task A_refund_that_fails_later_counts_again_and_says_why(string status, int days, bool tells)
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        world.Stripe.Books.NewRefunds = status;
        (await RefundAsync(world, id, "5")).OrThrow();
        await world.SettleAsync();
        for (var day = 0; day < days; day++) await world.WaitAsync(TimeSpan.FromDays(1));
        (await world.RowsAsync()).ShouldBe("-20 15");
        world.Stripe.Books.TurnRefund(session.Refunds[0].Id, "failed", "lost_or_stolen_card");
        if (tells) await world.SettleAsync();
        else for (var day = 0; day < 4; day++) await world.WaitAsync(TimeSpan.FromDays(1));
        (await RefundsAsync(world)).ShouldBe("refused 0");
        (await world.RowsAsync()).ShouldBe("20 -15");
        (await world.Db.AskAsync<string>("SELECT problem FROM provider_refunds", null, Cancel))
            .ShouldContain("has failed: lost or stolen card");
        await world.AgreesAsync();
        // It can be tried again.
        world.Stripe.Books.NewRefunds = "succeeded";
        (await RefundAsync(world, id, "5")).OrThrow();
        await world.SettleAsync();
        (await RefundsAsync(world)).ShouldBe("refused 0 done 5");
        await world.AgreesAsync();
    }

    /// <summary>Stripe is asked less and less often, and in the end no more.</summary>
    [Fact]
    public void A_refund_that_was_sent_is_asked_about_for_a_month()
    {
        var (created, asked) = (new DateTime(2026, 3, 1, 0, 0, 0, DateTimeKind.Utc), 0);
        for (DateTime? now = created; now is { } at; now = PollPause.AfterRefund(created, at)) asked++;
        asked.ShouldBeInRange(10, 25);
        PollPause.AfterRefund(created, created + TimeSpan.FromDays(29)).ShouldNotBeNull();
        PollPause.AfterRefund(created, created + TimeSpan.FromDays(31)).ShouldBeNull();
    }

    /// <summary>Fractions of a claim do not make more of a refund than it is.</summary>
    [Theory]
    [InlineData("3.335 6.665 0", "3.34 6.66 0")]
    [InlineData("0 3.335 6.665", "0 3.33 6.66")]
    [InlineData("9.999 0.001 0", "10 0 0")]
    [InlineData("8 8 8", "8 2 0")]
    [InlineData("11 0 1", "10 0 0")]
    public void Parts_of_a_refund_are_whole_units(string says, string expected)
    {
        var said = says.Split(' ').Select(n => decimal.Parse(n, CultureInfo.InvariantCulture)).ToList();
        var parts = RefundPayment.PartsOf(
            10, new RefundState("r", "u", said[0], said[1], said[2], IsFinal: false, ""), 2);
        string.Create(CultureInfo.InvariantCulture, $"{parts.Sent:0.##} {parts.Claimed:0.##} {parts.Moving:0.##}")
            .ShouldBe(expected);
    }

    /// <summary>It was returned by bank, and invalidated: another operator does not send it a second time.</summary>
    [Fact]
    public async Task What_was_taken_back_by_hand_is_not_sent_back_too()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        await world.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        (await RefundAsync(world, id, null)).Problem!.Message.ShouldContain("taken back here by hand");
        using var ops = await world.Hub.SignInAsync(PaymentWorld.Operator, Cancel);
        var page = await ops.ReadAsync($"/operator/payments/{id}", Cancel);
        page.ShouldContain("<dt>Counts for the account</dt><dd>$0.00</dd>");
        page.ShouldContain("<dt>Taken back by hand</dt><dd>$20.00</dd>");
        page.ShouldNotContain("Send money back");
        await world.SettleAsync();
        (session.Refunded, await world.LedgerAsync("provider_clearing", "stripe")).ShouldBe((0, -session.Fee / 100m));
        // It was a mistake.
        await world.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE", null, Cancel);
        (await RefundAsync(world, id, null)).OrThrow().ShouldBe(20);
        await world.SettleAsync();
        await world.AgreesAsync();
    }

    [Fact]
    public void Less_than_a_unit_is_not_sent_back()
    {
        var payment = new ProviderPaymentRow(1, "btcpay", "", 10, default, "i", "i", "", "paid", 6.1537m, 0, 0, "", 0,
            6.15m, 6.15m, null, null, null, "", false, false, "");
        RefundPayment.Decide(payment, 0, null, 2).OrThrow().ShouldBe(6.15m);
        RefundPayment.Decide(payment, 0, "6.16", 2).Problem!.Message.ShouldContain("At most 6.15");
        RefundPayment.Decide(payment, 6.15m, null, 2).Problem!.Message.ShouldContain("Nothing of this payment");
        // A part was taken back by hand.
        RefundPayment.Decide(payment with { Counts = 2 }, 0, "3", 2).Problem!.Message.ShouldContain(
            "At most 2.00 can be sent back. The rest was taken back here by hand.");
        // What was paid in another currency never counted, and may go back.
        RefundPayment.Decide(payment with { Credited = 0, Counts = 0 }, 0, null, 2).OrThrow().ShouldBe(6.15m);
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
