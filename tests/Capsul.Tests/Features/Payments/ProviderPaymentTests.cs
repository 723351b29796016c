using Capsul.Hub.Features.Payments;
using Capsul.Hub.Leadership;
using Capsul.Tests.Support;

namespace Capsul.Tests.Features.Payments;

/// <summary>A payment through a provider, whatever happens on the way.</summary>
public sealed class ProviderPaymentTests
{
    static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_person_pays_by_card_and_has_it_on_the_balance()
    {
        await using var world = await PaymentWorld.StartAsync();
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        (await ada.ReadAsync("/balance", Cancel)).ShouldContain("Add money");
        var begun = await ada.PostAsync("/balance/add", Cancel, ("Amount", "20"), ("Provider", "stripe"))
            .ReadAsync(Cancel);
        begun.Page.ShouldContain("We are asking the payment provider");
        begun.Page.ShouldContain("This is play money");
        begun.Page.ShouldContain("content=\"1;url=/balance/payments/1?go=true&waited=true\"");
        await world.LookAsync();
        (await ada.ReadAsync("/balance/payments/1?go=true&waited=true", Cancel)).ShouldContain("THIS IS PLAY MONEY");
        var session = world.Stripe.Books.Sessions.ShouldHaveSingleItem();
        session.SuccessUrl.ShouldBe($"{world.Hub.Address}balance/payments/1?returned=1");
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        (await ada.ReadAsync("/balance/payments/1?returned=1", Cancel)).ShouldContain("$20.00 of this payment is on");
        (await ada.ReadAsync("/balance/payments", Cancel)).ShouldContain("paid");
        (await world.BalanceAsync()).ShouldBe(20);
        (await world.LedgerAsync("provider_fees", "stripe")).ShouldBe(0.88m);
        (await world.LedgerAsync("provider_clearing", "stripe")).ShouldBe(19.12m);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task The_browser_was_closed_and_no_event_ever_comes()
    {
        await using var world = await PaymentWorld.StartAsync();
        world.Stripe.Faults.LostEvents = 1;
        var (id, session) = await world.BeginAsync();
        await world.WaitAsync(TimeSpan.FromSeconds(6));
        (await world.FindAsync(id)).Status.ShouldBe("open");
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        (await world.BalanceAsync()).ShouldBe(0);
        await world.WaitAsync(TimeSpan.FromMinutes(1));
        (await world.BalanceAsync()).ShouldBe(20);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task Pauses_grow_and_end_when_a_payment_is_final()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.BeginAsync();
        var before = world.Stripe.Calls;
        for (var minute = 0; minute < 24 * 60; minute++) await world.WaitAsync(TimeSpan.FromMinutes(1));
        (world.Stripe.Calls - before).ShouldBeInRange(20, 60);
        world.Stripe.Books.Expire(session.Id);
        await world.WaitAsync(Hour);
        var payment = await world.FindAsync(id);
        (payment.Status, payment.NextPoll).ShouldBe(("expired", null));
        before = world.Stripe.Calls;
        await world.WaitAsync(TimeSpan.FromDays(400));
        world.Stripe.Calls.ShouldBe(before);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_checkout_whose_answer_was_lost_is_made_once(bool answers500)
    {
        await using var world = await PaymentWorld.StartAsync();
        (world.Stripe.Faults.LosesAnswers, world.Stripe.Faults.FailsAfterActing) = (!answers500, answers500);
        var id = (await world.TryBeginAsync("20")).OrThrow();
        await world.LookAsync();
        var payment = await world.FindAsync(id);
        payment.Status.ShouldBe("new");
        payment.Problem.ShouldStartWith(answers500 ? "Stripe answered 500" : "Stripe did not answer");
        world.Stripe.Books.Sessions.Count.ShouldBe(1);
        (world.Stripe.Faults.LosesAnswers, world.Stripe.Faults.FailsAfterActing) = (false, false);
        await world.WaitAsync(Hour);
        var session = world.Stripe.Books.Sessions.ShouldHaveSingleItem();
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        (await world.RowsAsync()).ShouldBe("20");
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_provider_that_is_down_blocks_no_page_and_is_asked_again()
    {
        await using var world = await PaymentWorld.StartAsync();
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        world.Stripe.Faults.IsDown = true;
        await ada.PostAsync("/balance/add", Cancel, ("Amount", "20"), ("Provider", "stripe")).ReadAsync(Cancel);
        await world.LookAsync();
        (await ada.ReadAsync("/balance/payments/1?go=true&waited=true", Cancel)).ShouldContain("We are still asking");
        await world.WaitAsync(TimeSpan.FromMinutes(10));
        world.Stripe.Faults.IsDown = false;
        await world.WaitAsync(Hour);
        (await world.FindAsync(1)).Status.ShouldBe("open");
        (await world.FindAsync(1)).Problem.ShouldBe("");
        // A key is remembered for a day: one that never got an answer is given up, and nothing can be paid.
        world.Stripe.Faults.IsDown = true;
        var late = (await world.TryBeginAsync("30")).OrThrow();
        for (var hour = 0; hour < 24; hour++) await world.WaitAsync(Hour);
        (await world.FindAsync(late)).Status.ShouldBe("failed");
        (await ada.ReadAsync($"/balance/payments/{late}", Cancel)).ShouldContain("nothing was paid");
    }

    [Fact]
    public async Task Money_that_takes_days_is_shown_and_not_spendable_until_it_is_there()
    {
        await using var world = await PaymentWorld.StartAsync();
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        var (id, session) = await world.BeginAsync();
        world.Stripe.Books.PayLater(session.Id);
        await world.SettleAsync();
        (await ada.ReadAsync($"/balance/payments/{id}", Cancel)).ShouldContain("the money is on its way");
        (await world.BalanceAsync()).ShouldBe(0);
        world.Advance(TimeSpan.FromDays(3));
        world.Stripe.Books.Arrive(session.Id);
        await world.SettleAsync();
        (await world.BalanceAsync()).ShouldBe(20);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task Another_currency_is_not_credited_and_the_operator_sees_it()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.BeginAsync();
        session.Currency = "eur";
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        var payment = await world.FindAsync(id);
        (payment.Received, payment.Credited).ShouldBe((20, 0));
        payment.Problem.ShouldStartWith("It was paid in EUR, and nothing was credited");
        (await world.RowsAsync()).ShouldBe("");
    }

    [Fact]
    public async Task A_hub_that_lost_the_seat_writes_nothing_and_the_next_one_asks_again()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.BeginAsync();
        world.Stripe.Books.Pay(session.Id);
        await world.Stripe.SendEventsAsync(Cancel);
        var old = await world.TakeSeatAsync();
        var epoch = world.Epoch;
        var slow = new TaskCompletionSource();
        world.Stripe.Faults.Slowly = slow.Task;
        var calls = world.Stripe.Calls;
        var asking = old.LookAsync(epoch, Cancel);
        await Until.TrueAsync("it is asking", TimeSpan.FromSeconds(20),
            () => Task.FromResult(world.Stripe.Calls > calls));
        await world.TakeSeatAsync();
        slow.SetResult();
        await Should.ThrowAsync<SeatLostException>(asking);
        (await world.BalanceAsync()).ShouldBe(0);
        await world.LookAsync();
        (await world.FindAsync(id)).Credited.ShouldBe(20);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task What_an_operator_invalidates_stays_so_whatever_happens_at_the_provider()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, session) = await world.PaidAsync();
        await world.Db.ExecuteAsync("UPDATE payments SET invalidated = TRUE", null, Cancel);
        await world.WaitAsync(TimeSpan.FromDays(2));
        (await world.RowsAsync()).ShouldBe("-20");
        world.Stripe.Books.Dispute(session.Id, "needs_response");
        await world.SettleAsync();
        (await world.RowsAsync()).ShouldBe("-20");
        world.Stripe.Books.Dispute(session.Id, "won");
        await world.SettleAsync();
        (await world.RowsAsync()).ShouldBe("-20", "it has gone back by another way");
        await world.Db.ExecuteAsync("UPDATE payments SET invalidated = FALSE", null, Cancel);
        await world.WaitAsync(TimeSpan.FromDays(2));
        (await world.RowsAsync()).ShouldBe("20");
        await world.AgreesAsync();
        (await Should.ThrowAsync<Npgsql.PostgresException>(() => world.Db.ExecuteAsync(
            "INSERT INTO payments (email, dollars, method, provider_payment) VALUES (@email, 5, 'stripe', @id)",
            new { email = PaymentWorld.Email, id }, Cancel)))
            .ConstraintName.ShouldBe("payments_provider_payment_counts_once");
    }

    [Fact]
    public async Task Another_account_does_not_find_it()
    {
        await using var world = await PaymentWorld.StartAsync();
        var (id, _) = await world.PaidAsync();
        using var eve = await world.Hub.SignInAsync("eve@example.org", Cancel);
        (await eve.GetAsync($"/balance/payments/{id}", Cancel).ReadAsync(Cancel)).Status.ShouldBe(404);
        (await eve.ReadAsync("/balance/payments", Cancel)).ShouldContain("You have not begun");
    }

    [Theory]
    [InlineData("10", 1000)]
    [InlineData(" 7.50 ", 750)]
    [InlineData("500", 50_000)]
    public void Accepts_amounts(string text, int cents) =>
        AddMoney.Decide(new AddMoney.Facts(5, 500, 2, true, 0), text).OrThrow().ShouldBe(cents / 100m);

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("ten")]
    [InlineData("-5")]
    [InlineData("0")]
    [InlineData("4.99")]
    [InlineData("500.01")]
    [InlineData("7.505")]
    [InlineData("7,50")]
    [InlineData("1,000")]
    [InlineData("1e2")]
    [InlineData("٢٠")]
    [InlineData("20 EUR")]
    [InlineData("$20")]
    [InlineData("NaN")]
    [InlineData("79228162514264337593543950336")]
    public void Refuses_amounts_that_are_none(string? text) =>
        AddMoney.Decide(new AddMoney.Facts(5, 500, 2, true, 0), text).Problem!.Field.ShouldBe("Amount");

    [Fact]
    public void Refuses_more_payments_than_anybody_begins() =>
        AddMoney.Decide(new AddMoney.Facts(5, 500, 2, true, AddMoney.MaxOpen), "20").Problem.ShouldNotBeNull();
}
