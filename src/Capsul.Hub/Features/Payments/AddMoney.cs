using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// Begins a payment through a provider. It only writes the payment down: the active Hub asks the provider for the page
/// to pay on, so nobody waits for a provider that is down.
/// </summary>
public static class AddMoney
{
    /// <summary>Payments of an account that nobody has paid, in an hour.</summary>
    public const int MaxOpen = 10;

    /// <param name="Least">Smallest amount.</param>
    /// <param name="Most">Largest amount.</param>
    /// <param name="Decimals">Decimal places of the currency.</param>
    /// <param name="Open">Unpaid ones of the last hour.</param>
    public sealed record Facts(decimal Least, decimal Most, int Decimals, bool IsOffered, long Open);

    /// <param name="amount">As typed: whole, or with decimal places after a point.</param>
    public static Outcome<decimal> Decide(Facts facts, string? amount)
    {
        if (!facts.IsOffered)
            return new Problem(ProblemKind.NotFound, "This way to pay is not offered here.");
        if (!decimal.TryParse(
            amount?.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value))
            return Wrong(
                $"Enter an amount such as {Show.Examples(facts.Decimals)}, with a point and without a currency.");
        if (value != decimal.Round(value, facts.Decimals))
            return Wrong(facts.Decimals == 0 ? "Enter a whole amount."
                : $"An amount has at most {Show.Count(facts.Decimals, "decimal place", "decimal places")}.");
        if (value < facts.Least || value > facts.Most)
            return Wrong($"Enter an amount from {Show.Dollars(facts.Least)} to {Show.Dollars(facts.Most)}.");
        return facts.Open >= MaxOpen
            ? new Problem(ProblemKind.RateLimited,
                "You have begun many payments without paying them. Use one of those, or wait an hour.")
            : value;
    }

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Amount" };

    /// <summary>Returns the number of the payment.</summary>
    /// <param name="site">For the address to which the provider sends the person back.</param>
    public static Task<Outcome<long>> RunAsync(Db db, PaymentProviders providers, Settings settings, Site site,
        string email, string? provider, string? amount, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            await transaction.ExecuteAsync(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var open = await transaction.AskAsync<long>(
                ProviderPaymentSql.CountMoving, new { email, since = now - TimeSpan.FromHours(1) }, cancel);
            var facts = new Facts(settings.PaymentLeast, settings.PaymentMost, settings.Currency.Decimals,
                providers.Find(provider ?? "") is not null, open);
            if (Decide(facts, amount).Refused(out var problem, out var value)) return problem;
            var key = PaymentKey.Make();
            var id = await transaction.AskAsync<long>(
                ProviderPaymentSql.Add, new { provider, email, amount = value, key, now }, cancel);
            var returnTo = site.Link($"/balance/payments/{id}").ToString();
            await transaction.ExecuteAsync(ProviderPaymentSql.SetReturn, new { id, returnTo }, cancel);
            await transaction.AuditAsync(email, "begin_payment", $"provider payment {id}",
                string.Create(CultureInfo.InvariantCulture, $"{value} by {provider}"), cancel);
            return id;
        }, cancel);
}
