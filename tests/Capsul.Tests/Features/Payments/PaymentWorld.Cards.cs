using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Leadership;
using Capsul.Hub.Reconcilers;
using Capsul.Hub.Storage;
using Capsul.Play;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Capsul.Tests.Features.Payments;

/// <summary>Saved cards and automatic top-up, a round at a time.</summary>
sealed partial class PaymentWorld
{
    public PaymentProviders Providers => Hub.Services.GetRequiredService<PaymentProviders>();

    Fence NewFence() => new(Db, new Listener(Db, Hub.Time, NullLogger<Listener>.Instance));

    /// <summary>Writes down the charges that are due; returns how many.</summary>
    public Task<int> SweepAsync() => new AutoTopUpSweep(
        Db, NewFence(), Providers, Hub.Time, NullLogger<AutoTopUpSweep>.Instance).LookAsync(Epoch, Cancel);

    /// <summary>Asks about the cards that are due.</summary>
    public async Task LookAtCardsAsync()
    {
        var polling = new SavedCardPolling(Db, NewFence(), new Listener(Db, Hub.Time, NullLogger<Listener>.Instance),
            Providers, Hub.Time, NullLogger<SavedCardPolling>.Instance);
        await Db.ExecuteAsync(SavedCardSql.Release, new { epoch = Epoch }, Cancel);
        while (await polling.LookAsync(Epoch, Cancel) > 0)
        {
            // The next ones.
        }
    }

    /// <summary>An account whose card is saved.</summary>
    /// <param name="decline">Why it will be declined; empty: it works.</param>
    public async Task<PlayCard> SaveCardAsync(string decline = "", string email = Email)
    {
        await Db.ExecuteAsync(
            "INSERT INTO accounts (email) VALUES (@email) ON CONFLICT DO NOTHING", new { email }, Cancel);
        var id = (await SaveCard.RunAsync(Db, Providers, Hub.Services.GetRequiredService<Capsul.Hub.Web.Site>(), email,
            null, Hub.Time, Cancel)).OrThrow();
        await LookAtCardsAsync();
        var reference = await Db.AskAsync<string>(
            "SELECT reference FROM saved_cards WHERE id = @id", new { id }, Cancel);
        var card = Stripe.Books.EnterCard(reference, decline);
        await Stripe.SendEventsAsync(Cancel);
        await LookAtCardsAsync();
        return card;
    }

    public async Task<Outcome<SetAutoTopUp.Plan>> SetAsync(
        string threshold = "5", string amount = "20", string cap = "60", string email = Email) =>
        await SetAutoTopUp.RunAsync(
            Db, Settings, email, new SetAutoTopUp.Input(threshold, amount, cap), Hub.Time, Cancel);

    /// <summary>Automatic top-up is on: 20 below 5, at most 60 a month.</summary>
    public async Task<PlayCard> TurnOnAsync(string decline = "", string cap = "60")
    {
        var card = await SaveCardAsync(decline);
        (await SetAsync(cap: cap)).OrThrow();
        return card;
    }

    /// <summary>Charges that are due are written down and made, and what has come of them is known.</summary>
    public async Task ChargeAsync()
    {
        await SweepAsync();
        await LookAsync();
    }

    public Task<AutoTopUpRow> AutoAsync(string email = Email) =>
        Db.AskAsync<AutoTopUpRow>(AutoTopUpSql.Find, new { email, now = Hub.Now }, Cancel);

    /// <summary>The newest automatic charge.</summary>
    public Task<ProviderPaymentRow> NewestChargeAsync() => Db.AskAsync<ProviderPaymentRow>(
        ProviderPaymentSql.ListAll.Replace("WHERE ", "WHERE p.automatic AND ", StringComparison.Ordinal),
        new { after = 0L, limit = 1 }, Cancel);

    /// <summary>At the provider.</summary>
    public IReadOnlyList<PlaySession> Charges => [.. Stripe.Books.Sessions.Where(s => s.Card is not null)];

    /// <summary>The balance is used up, as far as a test cares.</summary>
    public async Task SpendAsync(decimal dollars)
    {
        await Db.ExecuteAsync("""
            INSERT INTO payments (created, email, dollars, method) VALUES (@now, @email, -@dollars, 'assigned')
            """, new { now = Hub.Now, email = Email, dollars }, Cancel);
    }

    /// <summary>Accounts that are being closed, and whose time is over, are settled.</summary>
    public async Task CloseAsync() => await new ClosingSweep(Db, NewFence(), Settings, Hub.Time,
        NullLogger<ClosingSweep>.Instance).LookAsync(Epoch, Cancel);

    /// <summary>Subjects of emails to the account, but for those to sign in.</summary>
    public Task<IReadOnlyList<string>> MailsAsync() => Db.ListAsync<string>(
        "SELECT subject FROM mails WHERE recipient = @email AND subject NOT LIKE 'Sign in%' ORDER BY id",
        new { email = Email }, Cancel);
}
