using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>
/// Begins to save a card. It only writes that down: the active Hub asks the provider for the page on which the card is
/// entered. The card takes the place of the one before when it is saved.
/// </summary>
public static class SaveCard
{
    /// <summary>Pages of an account in a day: thieves try out stolen cards where cards can be saved.</summary>
    public const int MaxPages = 5;

    /// <summary>The provider, or why not.</summary>
    /// <param name="offered">Providers that can keep cards.</param>
    /// <param name="pages">Of the last day.</param>
    public static Outcome<string> Decide(IReadOnlyList<string> offered, string? provider, long pages) =>
        offered.FirstOrDefault(o => o == (provider ?? o)) is not { } chosen
            ? new Problem(ProblemKind.NotFound, "Automatic top-up is not offered here.")
        : pages >= MaxPages
            ? new Problem(ProblemKind.RateLimited, "You have saved many cards today. Try again tomorrow.")
        : chosen;

    /// <summary>Returns the number of the card. Begun again, it goes on with the page that is there.</summary>
    public static Task<Outcome<long>> RunAsync(Db db, PaymentProviders providers, Site site, string email,
        string? provider, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var pages = await transaction.AskAsync<long>(
                SavedCardSql.CountPages, new { email, since = now - TimeSpan.FromDays(1) }, cancel);
            if (await transaction.FindAsync<SavedCardRow>(SavedCardSql.FindPage, new { email }, cancel) is { } page)
                return page.Id;
            if (Decide(providers.SavingCards, provider, pages).Refused(out var problem, out var chosen))
                return problem;
            var id = await transaction.AskAsync<long>(SavedCardSql.Add, new
            {
                provider = chosen,
                email,
                key = PaymentKey.MakeForCard(),
                now,
                returnTo = site.Link("/balance/auto").ToString(),
            }, cancel);
            await transaction.AuditAsync(email, "save_card", email,
                string.Create(CultureInfo.InvariantCulture, $"card {id} at {chosen}"), cancel);
            return id;
        }, cancel);
}
