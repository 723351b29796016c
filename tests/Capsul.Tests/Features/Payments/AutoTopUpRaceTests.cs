using System.Data;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Leadership;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Dapper;
using Npgsql;

namespace Capsul.Tests.Features.Payments;

/// <summary>Automatic charges, whoever does what at the same time. It is 1 March 2026, 12:00.</summary>
public sealed class AutoTopUpRaceTests
{
    static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static readonly DateTime Now = new(2026, 3, 1, 12, 0, 0, DateTimeKind.Utc);

    static ChargeFactsRow Low => new(5, 20, 60, true, null, null, 1, "stripe", 10, 6, 40, false, false, false, false);

    [Fact]
    public void A_card_is_charged_only_when_nothing_speaks_against_it()
    {
        ChargeCard.Decide(Low, Now).ShouldBeTrue();
        ChargeCard.Decide(Low with { PausedUntil = Now, LastCharge = Now - ChargeCard.Apart }, Now).ShouldBeTrue();
        ChargeFactsRow?[] against =
        [
            null, Low with { Enabled = false }, Low with { Card = null }, Low with { IsOpen = true },
            Low with { IsClosing = true }, Low with { IsPaused = true }, Low with { BegunByHand = true },
            Low with { Used = 5 }, Low with { Charged = 40.01m }, Low with { PausedUntil = Now.AddSeconds(1) },
            Low with { LastCharge = Now.AddMinutes(-59) },
        ];
        against.ShouldAllBe(f => !ChargeCard.Decide(f, Now));
    }

    [Theory]
    [InlineData(IsolationLevel.ReadCommitted), InlineData(IsolationLevel.RepeatableRead)]
    public async Task The_database_holds_the_cap_against_64_workers(IsolationLevel isolation)
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        var refusals = new System.Collections.Concurrent.ConcurrentBag<string>();
        await Task.WhenAll(Enumerable.Range(0, 64).Select(async n =>
        {
            try
            {
                await using var connection = await world.Db.OpenAsync(Cancel);
                await using var transaction = await connection.BeginTransactionAsync(isolation, Cancel);
                await connection.ExecuteAsync(ProviderPaymentSql.AddCharge, new
                {
                    provider = "stripe",
                    email = PaymentWorld.Email,
                    amount = 20m,
                    key = $"k{n}",
                    now = world.Hub.Now,
                    card = 1L,
                }, transaction);
                // It is paid at once, so that only the cap is in the way of the next one.
                await connection.ExecuteAsync(
                    "UPDATE provider_payments SET status = 'paid' WHERE key = @key", new { key = $"k{n}" },
                    transaction);
                await transaction.CommitAsync(Cancel);
            }
            catch (PostgresException error)
            {
                refusals.Add(error.ConstraintName ?? error.SqlState);
            }
        }));
        (await world.AutoAsync()).Charged.ShouldBeLessThanOrEqualTo(60);
        if (isolation == IsolationLevel.ReadCommitted)
        {
            (await world.AutoAsync()).Charged.ShouldBe(60);
            refusals.ShouldAllBe(r => r == "automatic_charges_within_cap");
        }
        refusals.Count.ShouldBe(64 - (int)(await world.AutoAsync()).Charged / 20);
    }

    [Fact]
    public async Task Of_64_workers_one_charges()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync(cap: "1000");
        var made = await Task.WhenAll(Enumerable.Range(0, 64).Select(_ => world.Db.InTransactionAsync(transaction =>
            ChargeCard.InAsync(transaction, PaymentWorld.Email, world.Hub.Now, Cancel), Cancel)));
        made.Count(id => id is not null).ShouldBe(1);
        await world.LookAsync();
        world.Charges.Count.ShouldBe(1);
    }

    [Fact]
    public async Task The_database_refuses_what_nobody_wants()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        await world.SaveCardAsync(email: "bob@example.org");
        Task<PostgresException> RefusedAsync(string email = PaymentWorld.Email, decimal amount = 20, long card = 1) =>
            Should.ThrowAsync<PostgresException>(() => world.Db.ExecuteAsync(ProviderPaymentSql.AddCharge,
                new { provider = "stripe", email, amount, key = "k", now = world.Hub.Now, card }, Cancel));
        (await RefusedAsync(amount: 21)).ConstraintName.ShouldBe("automatic_charges_are_wanted");
        (await RefusedAsync(card: 2)).ConstraintName.ShouldBe("automatic_charges_are_wanted", "another's card");
        (await RefusedAsync("bob@example.org", card: 2)).ConstraintName.ShouldBe("automatic_charges_are_wanted");
        await world.SweepAsync();
        (await RefusedAsync()).ConstraintName.ShouldBe("provider_payments_one_automatic");
        (await Should.ThrowAsync<PostgresException>(() => world.Db.ExecuteAsync(
            "UPDATE provider_payments SET created = created - interval '40 days'", null, Cancel)))
            .ConstraintName.ShouldBe("automatic_charges_stay");
        await TurnOffAutoTopUp.RunAsync(world.Db, PaymentWorld.Email, world.Hub.Time, Cancel);
        (await RefusedAsync()).ConstraintName.ShouldBe("automatic_charges_are_wanted");
    }

    [Theory]
    [InlineData(true), InlineData(false)]
    public async Task A_charge_whose_answer_was_lost_is_made_once(bool answers500)
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        (world.Stripe.Faults.LosesAnswers, world.Stripe.Faults.FailsAfterActing) = (!answers500, answers500);
        await world.ChargeAsync();
        world.Charges.Count.ShouldBe(0, "it is asked first whether there is one");
        (await world.NewestChargeAsync()).Status.ShouldBe("new");
        (world.Stripe.Faults.LosesAnswers, world.Stripe.Faults.FailsAfterActing) = (false, false);
        // The answer of the call itself is lost.
        world.Stripe.Faults.LoseAfter = 1;
        await world.WaitAsync(Hour);
        world.Charges.Count.ShouldBe(1);
        (await world.NewestChargeAsync()).Reference.ShouldBeNull();
        world.Stripe.Faults.LoseAfter = null;
        await world.WaitAsync(TimeSpan.FromDays(2));
        world.Charges.Count.ShouldBe(1);
        (await world.RowsAsync()).ShouldBe("20");
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_charge_that_never_had_an_answer_is_given_up_and_not_made_later()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        world.Stripe.Faults.IsDown = true;
        await world.ChargeAsync();
        for (var hour = 0; hour < 30; hour++) await world.WaitAsync(Hour);
        (await world.NewestChargeAsync()).Status.ShouldBe("new", "it is not known whether it was made");
        world.Stripe.Faults.IsDown = false;
        await world.WaitAsync(Hour);
        var charge = await world.NewestChargeAsync();
        (charge.Status, charge.Decline, world.Charges.Count).ShouldBe(("failed", "no_answer", 0));
        (await world.MailsAsync()).Count.ShouldBe(1);
    }

    [Fact]
    public async Task A_hub_that_ends_between_writing_down_and_the_call_charges_once()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        await world.SweepAsync();
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
        (await world.SweepAsync()).ShouldBe(0);
        await world.LookAsync();
        world.Charges.Count.ShouldBe(1);
        (await world.BalanceAsync()).ShouldBe(20);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_webhook_or_a_poll_credits_it_whichever_comes_first()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        world.Stripe.Faults.RepeatedEvents = 1;
        await world.ChargeAsync();
        await world.SettleAsync();
        await world.WaitAsync(Hour);
        (await world.RowsAsync()).ShouldBe("20");
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_events WHERE handled IS NULL OR "
            + "unknown_key IS NOT NULL", null, Cancel)).ShouldBe(0);
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_events WHERE body LIKE '%cus_%' AND "
            + "payment IS NULL", null, Cancel)).ShouldBe(0, "what tells of a card is not kept");
    }

    [Fact]
    public async Task A_top_up_by_hand_at_the_same_moment_comes_first()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        var (id, session) = await world.BeginAsync("30");
        (await world.SweepAsync()).ShouldBe(0, "the person is paying");
        world.Advance(ChargeCard.ByHand);
        var charging = Task.WhenAll(Enumerable.Range(0, 8).Select(_ => world.SweepAsync()));
        world.Stripe.Books.Pay(session.Id);
        await world.SettleAsync();
        await charging;
        await world.SettleAsync();
        (await world.FindAsync(id)).Credited.ShouldBe(30);
        world.Charges.Count.ShouldBe((await world.BalanceAsync()) > 30 ? 1 : 0);
        world.Charges.Count.ShouldBeLessThan(2);
        world.Advance(Hour * 2);
        (await world.SweepAsync()).ShouldBe(0);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task What_is_changed_while_a_charge_goes_on_counts_for_the_next_one()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        await world.SweepAsync();
        (await world.SetAsync(threshold: "100", amount: "10", cap: "25")).OrThrow();
        await world.LookAsync();
        (await world.BalanceAsync()).ShouldBe(20, "what was written down is carried through");
        world.Advance(Hour);
        (await world.SweepAsync()).ShouldBe(0, "20 of 25 are charged, and 10 would be too much");
        (await world.AutoAsync()).IsCapReached.ShouldBeTrue();
        (await world.SetAsync(threshold: "100", amount: "10", cap: "30")).OrThrow();
        (await world.SweepAsync()).ShouldBe(1);
        await TurnOffAutoTopUp.RunAsync(world.Db, PaymentWorld.Email, world.Hub.Time, Cancel);
        await world.LookAsync();
        (await world.BalanceAsync()).ShouldBe(30);
        world.Advance(Hour);
        (await world.SweepAsync()).ShouldBe(0);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_charge_counts_in_the_month_in_which_it_was_written_down()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync(cap: "20");
        (await world.SetAsync(threshold: "100", cap: "20")).OrThrow();
        world.Advance(new DateTime(2026, 3, 31, 23, 59, 0, DateTimeKind.Utc) - world.Hub.Now);
        await world.SweepAsync();
        world.Advance(TimeSpan.FromMinutes(2));
        await world.LookAsync();
        (await world.BalanceAsync()).ShouldBe(20);
        (await world.AutoAsync()).Charged.ShouldBe(0, "it is April");
        world.Advance(Hour);
        (await world.SweepAsync()).ShouldBe(1);
        await world.LookAsync();
        (await world.AutoAsync()).Charged.ShouldBe(20);
        world.Advance(TimeSpan.FromDays(20));
        (await world.SweepAsync()).ShouldBe(0);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_card_is_taken_away_when_the_charge_that_goes_on_is_over()
    {
        await using var world = await PaymentWorld.StartAsync();
        var card = await world.TurnOnAsync();
        await world.SweepAsync();
        await TurnOffAutoTopUp.RemoveCardAsync(world.Db, PaymentWorld.Email, world.Hub.Time, Cancel);
        await world.LookAtCardsAsync();
        card.Customer.ShouldNotBe("");
        await world.LookAsync();
        (await world.BalanceAsync()).ShouldBe(20);
        await world.LookAtCardsAsync();
        card.Customer.ShouldBe("");
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_charge_that_goes_on_while_the_account_is_closed_goes_back()
    {
        await using var world = await PaymentWorld.StartAsync();
        var card = await world.TurnOnAsync();
        await world.SweepAsync();
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, null, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        await world.LookAsync();
        await world.LookAtCardsAsync();
        (card.Customer, await world.BalanceAsync()).ShouldBe(("", 20));
        (await world.SweepAsync()).ShouldBe(0);
        world.Advance(TimeSpan.FromDays(3));
        await world.CloseAsync();
        await world.SettleAsync();
        world.Charges.ShouldHaveSingleItem().Refunded.ShouldBe(2000);
    }

    [Fact]
    public async Task A_card_that_is_entered_after_the_account_was_closed_is_taken_away()
    {
        await using var world = await PaymentWorld.StartAsync();
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        await ada.PostAsync("/balance/auto", "/balance/auto?handler=Card", Cancel).ReadAsync(Cancel);
        await world.LookAtCardsAsync();
        (await CloseAccount.RunAsync(world.Db, world.Settings, "ops", PaymentWorld.Email,
            new CloseAccount.Input(null, null, null, "asked"), world.Hub.Time, Cancel)).OrThrow();
        var card = world.Stripe.Books.EnterCard(world.Stripe.Books.CardPages.ShouldHaveSingleItem().Id);
        world.Advance(Hour);
        await world.LookAtCardsAsync();
        card.Customer.ShouldBe("");
    }

    [Fact]
    public async Task Nothing_is_charged_while_payments_may_be_missing()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        await world.Db.ExecuteAsync(DunningPageSql.PauseAfterRestore, null, Cancel);
        (await PauseDunning.RunAsync(world.Db, "ops", "and the mail server", Cancel)).OrThrow();
        (await world.SweepAsync()).ShouldBe(0);
        (await PauseDunning.ResumeAsync(world.Db, "ops", Cancel)).OrThrow();
        (await world.SweepAsync()).ShouldBe(1);
    }

    /// <summary>Nobody is to lose capsuls that a charge would have kept.</summary>
    [Fact]
    public async Task A_pause_for_another_reason_stops_no_charge()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.TurnOnAsync();
        (await PauseDunning.RunAsync(world.Db, "ops", "the mail server is being moved", Cancel)).OrThrow();
        (await world.SweepAsync()).ShouldBe(1);
        (await Should.ThrowAsync<PostgresException>(() => world.Db.ExecuteAsync(
            "UPDATE dunning_clock SET paused = '', lost_payments = TRUE", null, Cancel)))
            .ConstraintName.ShouldBe("dunning_clock_lost_payments_pause");
    }
}
