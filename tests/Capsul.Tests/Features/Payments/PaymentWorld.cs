using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Play;
using Capsul.Postgres;
using Capsul.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Capsul.Tests.Features.Payments;

/// <summary>The pages, a payment provider with play money, and what asks it, a round at a time.</summary>
sealed partial class PaymentWorld : IAsyncDisposable
{
    public const string Email = "ada@example.org", Operator = "ops@example.org";

    readonly FakeTimeProvider providerTime;

    PaymentWorld(PlayStripe stripe, WebHub hub, FakeTimeProvider providerTime) =>
        (Stripe, Hub, this.providerTime) = (stripe, hub, providerTime);

    static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public PlayStripe Stripe { get; }

    public WebHub Hub { get; }

    public Db Db => Hub.Db;

    public long Epoch { get; private set; }

    public Settings Settings => Hub.Services.GetRequiredService<Settings>();

    ProviderPolling polling = null!;

    public static async Task<PaymentWorld> StartAsync(params (string Name, string? Value)[] changes)
    {
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 3, 1, 12, 0, 0, TimeSpan.Zero));
        var stripe = await PlayStripe.StartAsync(time, Cancel);
        var hub = await WebHub.StartAsync(
            Cancel, [.. stripe.Settings, ("CAPSUL_OPERATOR_EMAIL", Operator), .. changes]);
        stripe.TellTo(hub.Address);
        var world = new PaymentWorld(stripe, hub, time);
        await world.TakeSeatAsync();
        return world;
    }

    /// <summary>Another Hub becomes active.</summary>
    public async Task<ProviderPolling> TakeSeatAsync()
    {
        Epoch = await Db.AskAsync<long>("UPDATE seat SET epoch = epoch + 1 RETURNING epoch", null, Cancel);
        polling = new ProviderPolling(Db,
            new Fence(Db, new Listener(Db, Hub.Time, NullLogger<Listener>.Instance)),
            new Listener(Db, Hub.Time, NullLogger<Listener>.Instance),
            Hub.Services.GetRequiredService<PaymentProviders>(), Settings, Hub.Time,
            NullLogger<ProviderPolling>.Instance);
        await Db.ExecuteAsync(ProviderPaymentSql.Release, new { epoch = Epoch }, Cancel);
        return polling;
    }

    public void Advance(TimeSpan by)
    {
        Hub.Time.Advance(by);
        providerTime.Advance(by);
    }

    /// <summary>Asks about everything that is due.</summary>
    public async Task LookAsync()
    {
        while (await polling.LookAsync(Epoch, Cancel) > 0)
        {
            // The next ones.
        }
    }

    /// <summary>A payment that was begun on the page, whose checkout exists.</summary>
    public async Task<(long Id, PlaySession Session)> BeginAsync(string amount = "20", string email = Email)
    {
        var begun = (await TryBeginAsync(amount, email)).OrThrow();
        await LookAsync();
        return (begun, SessionOf(await FindAsync(begun)));
    }

    public async Task<Outcome<long>> TryBeginAsync(string amount, string email = Email, string provider = "stripe")
    {
        await Db.ExecuteAsync(
            "INSERT INTO accounts (email) VALUES (@email) ON CONFLICT DO NOTHING", new { email }, Cancel);
        return await AddMoney.RunAsync(Db, Hub.Services.GetRequiredService<PaymentProviders>(), Settings,
            Hub.Services.GetRequiredService<Capsul.Hub.Web.Site>(), email, provider, amount, Hub.Time, Cancel);
    }

    public PlaySession SessionOf(ProviderPaymentRow payment) =>
        Stripe.Books.Sessions.Single(s => s.Id == payment.Reference);

    /// <summary>A payment that was paid and credited.</summary>
    public async Task<(long Id, PlaySession Session)> PaidAsync(string amount = "20", string email = Email)
    {
        var (id, session) = await BeginAsync(amount, email);
        Stripe.Books.Pay(session.Id);
        await SettleAsync();
        (await FindAsync(id)).Status.ShouldBe("paid");
        return (id, session);
    }

    /// <summary>All events arrive, and are handled.</summary>
    public async Task SettleAsync()
    {
        await Stripe.SendEventsAsync(Cancel);
        await LookAsync();
    }

    /// <summary>No event arrives; time passes until everybody has been asked.</summary>
    public async Task WaitAsync(TimeSpan by)
    {
        Advance(by);
        await LookAsync();
    }

    public Task<ProviderPaymentRow> FindAsync(long id) =>
        Db.AskAsync<ProviderPaymentRow>(ProviderPaymentSql.Find, new { id }, Cancel);

    public async Task<decimal> BalanceAsync(string email = Email) =>
        (await Db.AskAsync<BalanceRow>(BillingSql.Balance, new { email, now = Hub.Now }, Cancel)).Balance;

    /// <summary>Rows of payments: amount, and a minus in front if it was invalidated.</summary>
    public async Task<string> RowsAsync() => string.Join(' ', (await Db.ListAsync<CreditRow>(
        "SELECT id, dollars, invalidated FROM payments ORDER BY id", null, Cancel))
        .Select(r => (r.Invalidated ? "-" : "") + r.Dollars.ToString("0.##", CultureInfo.InvariantCulture)));

    public Task<decimal> LedgerAsync(string type, string name) => Db.AskAsync<decimal>(
        "SELECT coalesce(sum(e.amount), 0) FROM ledger_entries e JOIN ledger_accounts a ON a.id = e.account "
            + "WHERE a.type = @type AND a.name = @name", new { type, name }, Cancel);

    /// <summary>Everything agrees: the ledger with the rows, and the balance with the provider's own list.</summary>
    public async Task AgreesAsync()
    {
        (await VerifyLedger.RunAsync(Db, Cancel)).Differences.ShouldBeEmpty();
        foreach (var account in Stripe.Books.Sessions.GroupBy(s => s.Email, StringComparer.Ordinal))
            (await BalanceAsync(account.Key)).ShouldBe(account.Sum(s => s.Kept) / 100m, account.Key);
        (await LedgerAsync("provider_clearing", "stripe")).ShouldBe(
            Stripe.Books.Sessions.Sum(s => s.Kept - s.Costs) / 100m, "with the provider");
    }

    public async ValueTask DisposeAsync()
    {
        await Hub.DisposeAsync();
        await Stripe.DisposeAsync();
    }
}
