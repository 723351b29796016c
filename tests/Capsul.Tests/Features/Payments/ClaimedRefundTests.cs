using Capsul.Foundation;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Play;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Capsul.Tests.Features.Payments;

/// <summary>Bitcoin that goes back: whoever paid claims it, or does not; nothing is sent or counted twice.</summary>
public sealed class ClaimedRefundTests : IAsyncLifetime
{
    PlayBtcPay server = null!;
    PaymentWorld world = null!;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    PlayPull Pull => server.Pulls.All.ShouldHaveSingleItem();

    public async ValueTask InitializeAsync()
    {
        server = await PlayBtcPay.StartAsync(Cancel);
        world = await PaymentWorld.StartAsync(server.Settings);
        server.Time = world.Hub.Time;
        (await world.TryBeginAsync("20", provider: "btcpay")).OrThrow();
        await world.LookAsync();
        server.Invoices[0].Status = "Settled";
        server.Invoices[0].Payments.Add((0.0004m, "Settled"));
        await world.WaitAsync(TimeSpan.FromHours(1));
    }

    public async ValueTask DisposeAsync()
    {
        (await VerifyLedger.RunAsync(world.Db, Cancel)).Differences.ShouldBeEmpty();
        await world.DisposeAsync();
        await server.DisposeAsync();
    }

    async Task RefundAsync(string? amount)
    {
        (await RefundPayment.RunAsync(world.Db, world.Settings, PaymentWorld.Operator, 1, amount, "asked",
            world.Hub.Time, Cancel)).OrThrow();
        await world.LookAsync();
    }

    Task<Outcome<long>> WithdrawAsync() =>
        WithdrawRefund.RunAsync(world.Db, PaymentWorld.Operator, 1, "paid in cash", world.Hub.Time, Cancel);

    PlayClaim Claim(decimal? amount = null, string to = "bc1q") => Pull.Archived
        ? throw new InvalidOperationException("archived") : server.Pulls.Claim(Pull.Id, to, amount).Payout!;

    /// <summary>Without any event.</summary>
    Task AnHourAsync() => world.WaitAsync(TimeSpan.FromHours(1));

    async Task<ProviderRefundRow> FindAsync() => (await world.Db.ListAsync<ProviderRefundRow>(
        ProviderRefundSql.OfPayment, new { payment = 1 }, Cancel)).ShouldHaveSingleItem();

    async Task<string> ProblemAsync() => (await world.FindAsync(1)).Problem;

    [Fact]
    public async Task All_of_it_is_claimed_and_sent()
    {
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        await RefundAsync(null);
        // It is not spendable from now on.
        (await world.RowsAsync()).ShouldBe("-20");
        (Pull.Amount, Pull.Currency, Pull.Name.Length).ShouldBe((20, "USD", 39));
        var page = await ada.ReadAsync("/balance/payments/1", Cancel);
        page.ShouldContain("This payment goes back, and is not on your balance any more.");
        page.ShouldContain("$20.00 goes back to you");
        page.ShouldContain($"{server.Address}pull-payments/{Pull.Id}");
        (await world.Db.AskAsync<string>("SELECT body FROM mails WHERE subject LIKE '%to claim'", null, Cancel))
            .ShouldContain($"{server.Address}pull-payments/{Pull.Id}");
        var payout = Claim();
        await AnHourAsync();
        (await ProblemAsync()).ShouldBe("$20.00 of a refund is claimed: pay it at the provider.");
        payout.State = "InProgress";
        await AnHourAsync();
        ((await ProblemAsync()), (await FindAsync()).Moving).ShouldBe(("", 20));
        payout.State = "Completed";
        var (body, signature) = PlayBtcPay.Event(Pull, payout, "PayoutUpdated");
        (await PostAsync(body, signature)).ShouldBe(200);
        await world.LookAsync();
        var refund = await FindAsync();
        (refund.Status, refund.Sent, refund.Url).ShouldBe(("done", 20, ""));
        ((await world.FindAsync(1)).Refunded, await world.RowsAsync()).ShouldBe((20, "-20"));
        (await ada.ReadAsync("/balance/payments/1", Cancel)).ShouldContain("This payment was sent back");
    }

    async Task<int> PostAsync(byte[] body, string signature)
    {
        using var client = new HttpClient { BaseAddress = world.Hub.Address };
        using var request = new HttpRequestMessage(HttpMethod.Post, "/webhooks/btcpay")
        { Content = new ByteArrayContent(body) };
        request.Headers.Add("BTCPay-Sig", signature);
        using var answer = await client.SendAsync(request, Cancel);
        return (int)answer.StatusCode;
    }

    /// <summary>The server shows claims in fractions of a unit.</summary>
    [Fact]
    public async Task Claims_in_fractions_are_recorded()
    {
        await RefundAsync("10");
        Claim(3.335m).State = "Completed";
        var rest = Claim(6.665m, to: "bc1p");
        await AnHourAsync();
        var refund = await FindAsync();
        (refund.Sent, refund.Claimed).ShouldBe((3.34m, 6.66m));
        (await ProblemAsync()).ShouldBe("$6.66 of a refund is claimed: pay it at the provider.");
        rest.State = "Completed";
        await AnHourAsync();
        ((await FindAsync()).Status, await world.RowsAsync()).ShouldBe(("done", "-20 10"));
    }

    [Fact]
    public async Task What_is_sent_too_late_still_counts_and_the_page_says_so()
    {
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        var late = (await world.TryBeginAsync("20", provider: "btcpay")).OrThrow();
        await world.LookAsync();
        server.Invoices[1].Status = "Expired";
        await AnHourAsync();
        var page = await ada.ReadAsync($"/balance/payments/{late}", Cancel);
        page.ShouldContain("The time to pay is over. What you have sent all the same is added");
        page.ShouldNotContain("Nothing was paid");
        // Less than a unit is not offered.
        server.Invoices[1].Payments.Add((0.000123074m, "Settled"));
        await AnHourAsync();
        (await world.FindAsync(late)).Received.ShouldBe(6.1537m);
        (await ada.ReadAsync($"/balance/payments/{late}", Cancel)).ShouldContain("$6.15 of this payment");
        (await RefundPayment.RunAsync(world.Db, world.Settings, "ops", late, null, "asked", world.Hub.Time, Cancel))
            .OrThrow().ShouldBe(6.15m);
        var other = (await world.TryBeginAsync("20", provider: "btcpay")).OrThrow();
        await world.LookAsync();
        server.Invoices[2].Status = "Expired";
        await world.WaitAsync(TimeSpan.FromDays(8));
        (await ada.ReadAsync($"/balance/payments/{other}", Cancel)).ShouldContain("Nothing was paid");
    }

    [Fact]
    public async Task What_is_not_claimed_in_time_counts_again()
    {
        await RefundAsync("5");
        Claim(2).State = "Completed";
        await AnHourAsync();
        ((await world.RowsAsync()), (await world.FindAsync(1)).Refunded).ShouldBe(("-20 15", 2));
        // It cannot be sent back a second time meanwhile.
        (await RefundPayment.RunAsync(world.Db, world.Settings, "ops", 1, "15.01", "asked", world.Hub.Time, Cancel))
            .Problem!.Message.ShouldContain("At most 15.00");
        await world.WaitAsync(RefundPayment.ClaimFor + TimeSpan.FromHours(2));
        var refund = await FindAsync();
        (refund.Status, refund.Sent).ShouldBe(("done", 2));
        (await world.RowsAsync()).ShouldBe("-20 -15 18");
        server.Pulls.Claim(Pull.Id, "bc1q2", null).Code.ShouldBe("expired");
    }

    [Fact]
    public async Task A_claim_that_waits_is_waited_for_however_long()
    {
        await RefundAsync("5");
        var payout = Claim(3);
        await world.WaitAsync(RefundPayment.ClaimFor * 2);
        ((await FindAsync()).Status, await ProblemAsync())
            .ShouldBe(("offered", "$3.00 of a refund is claimed: pay it at the provider."));
        payout.State = "Cancelled";
        await AnHourAsync();
        ((await FindAsync()).Sent, await world.RowsAsync()).ShouldBe((0, "20 -15"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_refund_whose_answer_was_lost_is_offered_once(bool answers500)
    {
        (server.Faults.LosesAnswers, server.Faults.FailsAfterActing) = (!answers500, answers500);
        await RefundAsync("5");
        // The list that is looked at first has no answer either.
        server.Pulls.All.ShouldBeEmpty();
        (server.Faults.LosesAnswers, server.Faults.FailsAfterActing) = (false, false);
        server.LosesNextPull = true;
        await AnHourAsync();
        ((await FindAsync()).Status, Pull.Amount).ShouldBe(("open", 5));
        (await ProblemAsync()).ShouldBe("A refund has no answer yet.");
        await AnHourAsync();
        (await FindAsync()).Reference.ShouldBe(Pull.Id);
        (await world.Db.AskAsync<long>("SELECT count(*) FROM mails WHERE subject LIKE '%to claim'", null, Cancel))
            .ShouldBe(1);
    }

    [Fact]
    public async Task A_withdrawn_one_counts_again()
    {
        await RefundAsync(null);
        (await WithdrawAsync()).OrThrow().ShouldBe(1);
        (await WithdrawAsync()).Problem!.Kind.ShouldBe(ProblemKind.Conflict);
        await world.LookAsync();
        (Pull.Archived, (await FindAsync()).Status, await world.RowsAsync()).ShouldBe((true, "done", "20"));
    }

    [Fact]
    public async Task A_withdrawn_one_waits_for_a_claim_and_keeps_what_was_sent()
    {
        await RefundAsync(null);
        var first = Claim(4);
        await AnHourAsync();
        (await WithdrawAsync()).OrThrow();
        await world.LookAsync();
        (Pull.Archived, (await FindAsync()).Status).ShouldBe((false, "offered"));
        first.State = "Completed";
        await AnHourAsync();
        // The server shows nothing of an archived one: what was sent is written down before.
        (Pull.Archived, (await FindAsync()).Sent).ShouldBe((false, 4));
        server.LosesNextPull = true;
        await AnHourAsync();
        (Pull.Archived, (await FindAsync()).Status).ShouldBe((true, "offered"));
        await AnHourAsync();
        ((await FindAsync()).Status, (await FindAsync()).Sent, await world.RowsAsync()).ShouldBe(("done", 4, "-20 16"));
    }

    [Fact]
    public async Task One_that_somebody_archived_ends_with_what_was_seen_and_says_so()
    {
        await RefundAsync(null);
        Claim(4).State = "Completed";
        Claim(5, "bc1q2").State = "InProgress";
        await AnHourAsync();
        server.Pulls.Archive(Pull.Id);
        await AnHourAsync();
        (await FindAsync()).Sent.ShouldBe(9);
        (await ProblemAsync()).ShouldContain("was archived at BTCPay Server");
        (await world.RowsAsync()).ShouldBe("-20 11");
    }

    [Fact]
    public async Task A_key_without_the_right_is_an_operators_matter_and_no_refusal()
    {
        server.MayRefund = false;
        await RefundAsync("5");
        ((await FindAsync()).Status, await world.RowsAsync()).ShouldBe(("open", "-20 15"));
        server.MayRefund = true;
        await AnHourAsync();
        (await FindAsync()).Status.ShouldBe("offered");
    }

    [Fact]
    public async Task A_claim_of_less_than_a_unit_is_not_spendable()
    {
        await RefundAsync("5");
        Claim(1.234m).State = "Completed";
        await world.WaitAsync(RefundPayment.ClaimFor + TimeSpan.FromHours(2));
        ((await FindAsync()).Sent, await world.RowsAsync()).ShouldBe((1.24m, "-20 -15 18.76"));
    }

    [Fact]
    public async Task Two_refunds_at_the_same_time_do_not_both_fit()
    {
        var outcomes = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => RefundPayment.RunAsync(
            world.Db, world.Settings, "ops", 1, "12", "asked", world.Hub.Time, Cancel)));
        outcomes.Count(o => o.Problem is null).ShouldBe(1);
    }

    /// <summary>A database from before the refund: what was claimed would count as spent and as sent back.</summary>
    [Fact]
    public async Task A_refund_that_was_lost_with_the_database_is_found_again()
    {
        await RefundAsync("5");
        Claim(2).State = "Completed";
        await world.Db.ExecuteAsync("DELETE FROM provider_refunds", null, Cancel);
        await AnHourAsync();
        (await world.RowsAsync()).ShouldBe("20 -15");
        (await ReconcileAsync(import: false)).Differences.ShouldHaveSingleItem().What
            .ShouldBe("is not in the database, and belongs to payment 1");
        (await ReconcileAsync(import: true)).Imported.ShouldBe(1);
        (await world.RowsAsync()).ShouldBe("-20 15");
        await world.LookAsync();
        await AnHourAsync();
        ((await FindAsync()).Sent, server.Pulls.All.Count).ShouldBe((2, 1));
        (await ReconcileAsync(import: true)).Differences.ShouldBeEmpty();
    }

    async Task<ReconcileRefunds.Report> ReconcileAsync(bool import) => (await ReconcileRefunds.RunAsync(world.Db,
        world.Settings, world.Hub.Services.GetRequiredService<PaymentProviders>().Find("btcpay")!,
        DateTime.UnixEpoch, import, "ops", world.Hub.Time, Cancel)).OrThrow();

    /// <summary>The database does not take what no refund is.</summary>
    [Theory]
    [InlineData("INSERT INTO provider_refunds (payment, amount, key, reason, actor, created) "
        + "VALUES (1, 15.01, 'k', 'r', 'o', now())", "provider_refunds_within_payment")]
    [InlineData("UPDATE provider_refunds SET sent = 6", "provider_refunds_sent_check")]
    [InlineData("UPDATE provider_refunds SET sent = 3, claimed = 3", "provider_refunds_sent_check")]
    [InlineData("UPDATE provider_refunds SET status = 'done', claimed = 1", "provider_refunds_moves_while_offered")]
    [InlineData("UPDATE provider_refunds SET status = 'done'", "provider_refunds_offered_has_page")]
    [InlineData("UPDATE provider_refunds SET url = ''", "provider_refunds_offered_has_page")]
    [InlineData("UPDATE provider_refunds SET amount = 6", "provider_refunds_stay")]
    [InlineData("UPDATE provider_refunds SET reference = 'x'", "provider_refunds_stay")]
    [InlineData("INSERT INTO provider_refunds (payment, amount, key, reason, actor, created, status) "
        + "VALUES (1, 1, 'k', 'r', 'o', now(), 'pending')", "provider_refunds_pending_is_known")]
    [InlineData("UPDATE provider_payments SET kept = -1", "provider_payments_kept_check")]
    public async Task The_database_refuses(string statement, string constraint)
    {
        await RefundAsync("5");
        (await Should.ThrowAsync<PostgresException>(() => world.Db.ExecuteAsync(statement, null, Cancel)))
            .ConstraintName.ShouldBe(constraint);
    }

    [Fact]
    public async Task What_is_over_stays_over()
    {
        await RefundAsync("5");
        Claim().State = "Completed";
        await AnHourAsync();
        (await FindAsync()).Status.ShouldBe("done");
        foreach (var change in (string[])["sent = 0", "status = 'refused'", "status = 'pending', sent = 0"])
            (await Should.ThrowAsync<PostgresException>(() => world.Db.ExecuteAsync(
                $"UPDATE provider_refunds SET {change}", null, Cancel)))
                .ConstraintName.ShouldBe("provider_refunds_stay", change);
        (await WithdrawAsync()).Problem!.Message.ShouldContain("is over");
    }

    [Fact]
    public void The_play_server_refuses_what_the_real_one_refuses()
    {
        var pulls = new PlayPulls(server.Address, () => TimeProvider.System);
        System.Text.Json.Nodes.JsonObject Body(string amount, string name, string? currency = "USD") =>
            new() { ["amount"] = amount, ["name"] = name, ["currency"] = currency };
        foreach (var wrong in new[] { Body("0", "x"), Body("-1", "x"), Body("5", new string('x', 51)),
            Body("5", "x", null) })
            Should.Throw<FormatException>(() => pulls.Add(wrong));
        var id = pulls.Add(Body("5", "x"))["id"]!.GetValue<string>();
        pulls.Claim("other", "a", null).Code.ShouldBe("pullpayment-not-found");
        pulls.Claim(id, "a", 5.01m).Code.ShouldBe("overdraft");
        pulls.Claim(id, "a", 3).Code.ShouldBe("");
        pulls.Claim(id, "a", 1).Code.ShouldBe("duplicate-destination");
        pulls.Claim(id, "b", null).Payout!.Amount.ShouldBe(2);
        pulls.Claim(id, "c", null).Code.ShouldBe("amount-too-low");
        pulls.All[0].Payouts[0].State = "InProgress";
        pulls.Archive(id).ShouldBeTrue();
        pulls.All[0].Payouts.Select(p => p.State).ShouldBe(["InProgress", "Cancelled"]);
        pulls.ListPayouts(id, includeCancelled: true)!.Count.ShouldBe(0, "an archived one shows none");
        pulls.Claim(id, "d", null).Code.ShouldBe("archived");
    }
}
