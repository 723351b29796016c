using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.FriendLinks;

/// <summary>
/// Somebody who is not signed in begins a payment into another's account. Its provider is not told whose it is, and who
/// pays gets the provider's receipt; apart from that it is a payment as any other.
/// </summary>
public static class PayForFriend
{
    /// <summary>Payments that are begun by one link in an hour, whoever begins them.</summary>
    public const int MaxBegun = 30;

    public static readonly Problem NotFound = new(ProblemKind.NotFound,
        "This link does not work, or not any more. Ask for a new one.");

    /// <param name="link">Null: there is none that works.</param>
    public static Outcome<decimal> Decide(
        FriendLinkRow? link, BegunRow begun, AddMoney.Facts facts, string? amount) =>
        link is null ? NotFound
        : begun.All >= MaxBegun ? new Problem(ProblemKind.RateLimited,
            "Many payments were begun by this link. Wait an hour, and try again.")
        : AddMoney.Decide(facts with { Open = begun.Open }, amount);

    /// <returns>The secret of the page that shows the payment.</returns>
    public static Task<Outcome<string>> RunAsync(Db db, PaymentProviders providers, Settings settings, Site site,
        ReturnSeal seal, string? code, string? provider, string? amount, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var hash = Secret.Hash(code ?? "");
            var seen = await transaction.FindAsync<FriendLinkRow>(FriendLinkSql.Find, new { hash }, cancel);
            await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { seen?.Email ?? "" } }, cancel);
            var link = await transaction.FindAsync<FriendLinkRow>(FriendLinkSql.Find, new { hash }, cancel);
            var begun = await transaction.AskAsync<BegunRow>(
                FriendLinkSql.CountBegun, new { link = link?.Id ?? 0, since = now - TimeSpan.FromHours(1) }, cancel);
            var facts = new AddMoney.Facts(settings.PaymentLeast, settings.PaymentMost, settings.Currency.Decimals,
                providers.Find(provider ?? "") is not null, 0);
            if (Decide(link, begun, facts, amount).Refused(out var problem, out var value)) return problem;
            var token = Secret.Make();
            var id = await transaction.AskAsync<long>(ProviderPaymentSql.AddByFriend, new
            {
                provider,
                email = link!.Email,
                amount = value,
                key = PaymentKey.MakeForFriend(),
                now,
                returnTo = seal.Seal(site.Link($"/give/payments/{token}")),
                link = link.Id,
                hash = Secret.Hash(token),
            }, cancel);
            await transaction.AuditAsync("a friend", "begin_payment", $"provider payment {id}", string.Create(
                CultureInfo.InvariantCulture, $"{value} by {provider}, link {link.Id}"), cancel);
            return token;
        }, cancel);
}
