using Capsul.Hub.Features.Payments.BtcPay;
using Capsul.Play;

namespace Capsul.Tests.Features.Payments;

/// <summary>Bitcoin: what arrives is credited, whenever and however much.</summary>
public sealed class BtcPayTests : IAsyncLifetime
{
    PlayBtcPay server = null!;
    PaymentWorld world = null!;

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        server = await PlayBtcPay.StartAsync(Cancel);
        world = await PaymentWorld.StartAsync(server.Settings);
    }

    public async ValueTask DisposeAsync()
    {
        await world.DisposeAsync();
        await server.DisposeAsync();
    }

    async Task<(long Id, PlayInvoice Invoice)> BeginAsync()
    {
        var id = (await world.TryBeginAsync("20", provider: "btcpay")).OrThrow();
        await world.LookAsync();
        return (id, server.Invoices[^1]);
    }

    [Fact]
    public async Task It_is_pending_until_it_is_settled()
    {
        using var ada = await world.Hub.SignInAsync(PaymentWorld.Email, Cancel);
        var (id, invoice) = await BeginAsync();
        (await world.FindAsync(id)).Url.ShouldBe($"{server.Address}i/{invoice.Id}");
        (invoice.Status, invoice.Payments.Count).ShouldBe(("New", 0));
        invoice.Status = "Processing";
        invoice.Payments.Add((0.0004m, "Processing"));
        await TellAsync(invoice, "InvoiceProcessing", "1");
        (await ada.ReadAsync($"/balance/payments/{id}", Cancel)).ShouldContain("the money is on its way");
        (await world.BalanceAsync()).ShouldBe(0);
        (invoice.Status, invoice.Payments[0]) = ("Settled", (0.0004m, "Settled"));
        await TellAsync(invoice, "InvoiceSettled", "2");
        await TellAsync(invoice, "InvoiceSettled", "2");
        (await world.RowsAsync()).ShouldBe("20");
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_events", null, Cancel)).ShouldBe(2);
    }

    async Task TellAsync(PlayInvoice invoice, string type, string delivery)
    {
        var (body, signature) = PlayBtcPay.Event(invoice, type, delivery);
        (await PostAsync(body, signature)).ShouldBe(200);
        await world.LookAsync();
    }

    async Task<int> PostAsync(byte[] body, string signature)
    {
        using var client = new HttpClient { BaseAddress = world.Hub.Address };
        using var request = new HttpRequestMessage(HttpMethod.Post, "/webhooks/btcpay")
        { Content = new ByteArrayContent(body) };
        request.Headers.Add(BtcPayProvider.Header, signature);
        using var answer = await client.SendAsync(request, Cancel);
        return (int)answer.StatusCode;
    }

    [Theory]
    [InlineData("Settled", "PaidOver", "0.0005", "25")]
    [InlineData("Expired", "PaidPartial", "0.000123", "6.15")]
    [InlineData("Expired", "PaidPartial", "0.00000001", "")]
    [InlineData("Settled", "PaidLate", "0.0004", "20")]
    [InlineData("Settled", "None", "0.00039999", "20")]
    [InlineData("Invalid", "None", "0", "")]
    public async Task What_arrived_is_credited_without_any_event(
        string status, string additional, string coins, string rows)
    {
        var (_, invoice) = await BeginAsync();
        var value = decimal.Parse(coins, System.Globalization.CultureInfo.InvariantCulture);
        (invoice.Status, invoice.AdditionalStatus) = (status, additional);
        if (value > 0) invoice.Payments.Add((value, "Settled"));
        await world.WaitAsync(TimeSpan.FromHours(1));
        (await world.RowsAsync()).ShouldBe(rows);
    }

    [Fact]
    public async Task What_arrives_days_after_the_invoice_expired_is_credited()
    {
        var (id, invoice) = await BeginAsync();
        invoice.Status = "Expired";
        await world.WaitAsync(TimeSpan.FromHours(1));
        (await world.FindAsync(id)).Status.ShouldBe("expired");
        invoice.AdditionalStatus = "PaidLate";
        invoice.Payments.Add((0.0002m, "Settled"));
        await world.WaitAsync(TimeSpan.FromDays(3));
        (await world.RowsAsync()).ShouldBe("10");
        invoice.Payments.Add((0.0001m, "Settled"));
        await world.WaitAsync(TimeSpan.FromDays(10));
        (await world.RowsAsync()).ShouldBe("-10 15");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task An_invoice_whose_answer_was_lost_is_found_again(bool answers500)
    {
        (server.Faults.LosesAnswers, server.Faults.FailsAfterActing) = (!answers500, answers500);
        await world.TryBeginAsync("20", provider: "btcpay");
        await world.LookAsync();
        (await world.FindAsync(1)).Problem.ShouldStartWith("BTCPay Server");
        (server.Faults.LosesAnswers, server.Faults.FailsAfterActing) = (false, false);
        await world.WaitAsync(TimeSpan.FromMinutes(1));
        var invoice = server.Invoices.ShouldHaveSingleItem();
        (await world.FindAsync(1)).Reference.ShouldBe(invoice.Id);
    }

    [Fact]
    public async Task Events_with_another_signature_are_refused()
    {
        var (_, invoice) = await BeginAsync();
        var (body, signature) = PlayBtcPay.Event(invoice, "InvoiceSettled", "1");
        foreach (var wrong in (string[])["sha256=00", "x", signature.ToUpperInvariant(), signature + " "])
            (await PostAsync(body, wrong.Trim() == signature ? "sha256=" : wrong)).ShouldBe(403, wrong);
        (await PostAsync("{}"u8.ToArray(), signature)).ShouldBe(403);
        (await PostAsync("{}"u8.ToArray(), BtcPayProvider.Sign(PlayBtcPay.WebhookSecret, "{}"u8))).ShouldBe(400);
        (await PostAsync(body, signature)).ShouldBe(200);
    }
}
