using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Play;
using Microsoft.Extensions.DependencyInjection;

namespace Capsul.Tests.Features.Payments;

/// <summary>A database that is older than what its provider knows: everything that was paid is found again.</summary>
public sealed class ReconcilePaymentsTests
{
    static readonly DateTime Long = DateTime.UnixEpoch.AddYears(50);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    static FoundPayment Found(string status, string email = "ada@example.org", decimal amount = 5) =>
        new(PaymentKey.Make(), "cs_1", "", email, amount, "USD", Long, status);

    [Theory]
    [InlineData("paid", null, "is not in the database")]
    [InlineData("open", null, "is not in the database")]
    [InlineData("pending", null, "is not in the database")]
    [InlineData("expired", null, null)]
    [InlineData("paid", "", "belongs to payment 7, which does not know of it")]
    [InlineData("failed", "", null)]
    [InlineData("paid", "cs_2", "was made twice for payment 7, and is not the one that counts")]
    [InlineData("open", "cs_2", null)]
    [InlineData("paid", "cs_1", "is payment 7, of which nothing has arrived here")]
    [InlineData("open", "cs_1", null)]
    public void What_is_missing_is_named(string status, string? reference, string? what)
    {
        var known = reference is null ? null
            : new KnownByKeyRow(7, "k", reference.Length == 0 ? null : reference, "open", 0);
        ReconcilePayments.Compare(Found(status), known)?.What.ShouldBe(what);
        (ReconcilePayments.Compare(Found(status), known) is null).ShouldBe(what is null);
        ReconcilePayments.Compare(Found(status, email: "nobody"), null)?.CanImport.ShouldBeFalse();
    }

    [Fact]
    public async Task Payments_after_the_backup_are_imported_once_and_credited()
    {
        await using var world = await PaymentWorld.StartAsync();
        await world.PaidAsync("20");
        await LosePaymentsAsync(world, 230, "30");
        // An event about one of them: it is kept in mind, and nothing is credited by it.
        await world.SettleAsync();
        (await world.BalanceAsync("bob@example.org")).ShouldBe(0);
        (await UnknownAsync(world)).ShouldBe(230);

        var report = await ReconcileAsync(world, "stripe", import: false);
        (report.Compared, report.Differences.Count, report.Imported).ShouldBe((231, 230, 0));
        (await world.Db.AskAsync<long>("SELECT count(*) FROM provider_payments", null, Cancel)).ShouldBe(1);

        report = await ReconcileAsync(world, "stripe", import: true);
        (report.Differences.Count, report.Imported).ShouldBe((230, 230));
        (await ReconcileAsync(world, "stripe", import: true)).Imported.ShouldBe(230, "nobody has asked about them yet");
        await world.LookAsync();
        (await ReconcileAsync(world, "stripe", import: true)).Differences.ShouldBeEmpty();
        (await UnknownAsync(world)).ShouldBe(0);
        (await world.BalanceAsync("bob@example.org")).ShouldBe(230 * 30);
        await world.AgreesAsync();
    }

    [Fact]
    public async Task A_payment_that_was_only_begun_in_the_backup_finds_its_checkout()
    {
        await using var world = await PaymentWorld.StartAsync();
        var id = (await world.TryBeginAsync("20")).OrThrow();
        var key = await world.Db.AskAsync<string>("SELECT key FROM provider_payments", null, Cancel);
        var checkout = await CheckoutAsync(world, key, PaymentWorld.Email, "20");
        world.Stripe.Books.Pay(checkout.Reference);
        // The key of a call is of no use after a day.
        await world.WaitAsync(TimeSpan.FromDays(2));
        (await world.FindAsync(id)).Status.ShouldBe("failed");

        (await ReconcileAsync(world, "stripe", import: true)).Differences.ShouldHaveSingleItem().Payment.ShouldBe(id);
        await world.LookAsync();
        ((await world.FindAsync(id)).Status, await world.RowsAsync()).ShouldBe(("paid", "20"));
        await world.AgreesAsync();
    }

    [Fact]
    public async Task What_nobody_paid_is_no_difference_and_no_longer_on_anybodys_mind()
    {
        await using var world = await PaymentWorld.StartAsync();
        await LosePaymentsAsync(world, 1, "30", pay: false);
        await world.SettleAsync();
        (await UnknownAsync(world)).ShouldBe(1);
        (await ReconcileAsync(world, "stripe", import: true)).Differences.ShouldBeEmpty();
        (await UnknownAsync(world)).ShouldBe(0);
    }

    [Fact]
    public async Task Invoices_are_imported_as_well_also_when_they_were_paid_in_part()
    {
        await using var server = await PlayBtcPay.StartAsync(Cancel);
        await using var world = await PaymentWorld.StartAsync(server.Settings);
        for (var n = 0; n < 103; n++)
            await CheckoutAsync(world, PaymentKey.Make(), "bob@example.org", "20", "btcpay");
        var invoice = server.Invoices[0];
        (invoice.Status, invoice.AdditionalStatus) = ("Expired", "PaidPartial");
        invoice.Payments.Add((0.0002m, "Settled"));
        foreach (var other in server.Invoices.Skip(1)) other.Status = "Expired";
        (await ReconcileAsync(world, "btcpay", import: true)).Imported.ShouldBe(1);
        await world.LookAsync();
        (await world.BalanceAsync("bob@example.org")).ShouldBe(10);
    }

    [Fact]
    public async Task A_provider_that_does_not_answer_is_said_and_nothing_is_changed()
    {
        await using var world = await PaymentWorld.StartAsync(("CAPSUL_STRIPE_API", "http://127.0.0.1:1/"));
        (await ReconcilePayments.RunAsync(world.Db, ProviderOf(world, "stripe"), Long, import: true, "test",
            world.Hub.Time, Cancel)).Problem!.Message.ShouldBe("Stripe did not answer.");
    }

    /// <summary>Checkouts that this installation made, and of which its database knows nothing.</summary>
    static async Task LosePaymentsAsync(PaymentWorld world, int count, string amount, bool pay = true)
    {
        for (var n = 0; n < count; n++)
        {
            var checkout = await CheckoutAsync(world, PaymentKey.Make(), "bob@example.org", amount);
            if (pay) world.Stripe.Books.Pay(checkout.Reference);
            else world.Stripe.Books.Expire(checkout.Reference);
        }
    }

    static async Task<Checkout> CheckoutAsync(
        PaymentWorld world, string key, string email, string amount, string provider = "stripe") =>
        (await ProviderOf(world, provider).CreateCheckoutAsync(new CheckoutRequest(key, email, decimal.Parse(amount,
            System.Globalization.CultureInfo.InvariantCulture), "USD", "https://example.org/"), Cancel)).OrThrow();

    static IPaymentProvider ProviderOf(PaymentWorld world, string name) =>
        world.Hub.Services.GetRequiredService<PaymentProviders>().Find(name)!;

    static async Task<ReconcilePayments.Report> ReconcileAsync(PaymentWorld world, string provider, bool import) =>
        (await ReconcilePayments.RunAsync(
            world.Db, ProviderOf(world, provider), Long, import, "test", world.Hub.Time, Cancel)).OrThrow();

    static Task<long> UnknownAsync(PaymentWorld world) => world.Db.AskAsync<long>(
        "SELECT count(DISTINCT unknown_key) FROM provider_events", null, Cancel);
}
