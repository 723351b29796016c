using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>An operator has the fund give an account an amount each month, until a day or until it is ended.</summary>
public static class SponsorAccount
{
    /// <param name="Amount">A month.</param>
    /// <param name="Until">The first day on which nothing is due any more, in UTC; empty: none.</param>
    /// <param name="Reason">For operators; the account does not see it on its pages.</param>
    public sealed record Input(string? Email, string? Amount, string? Until, string? Reason);

    /// <param name="Exists">There is such an account.</param>
    /// <param name="IsSponsored">It has a sponsorship that is going on.</param>
    public sealed record Facts(string Email, bool Exists, bool IsClosing, bool IsSponsored);

    public sealed record Plan(decimal Amount, DateTime? Until, string Reason);

    public static Outcome<Plan> Decide(Facts facts, Input input, int decimals, DateTime now)
    {
        if (GrantMoney.CheckAccount(facts.Email, facts.Exists, facts.IsClosing) is { } refusal) return refusal;
        if (facts.IsSponsored)
            return new Problem(ProblemKind.Conflict,
                $"{facts.Email} is sponsored already: end that first, if it is to get another amount.")
            { Field = "Email" };
        if (TypedAmount.Parse(input.Amount, decimals).Refused(out var problem, out var amount)) return problem;
        DateTime? until = null;
        if (!string.IsNullOrWhiteSpace(input.Until))
        {
            if (!DateTime.TryParseExact(input.Until.Trim(), "yyyy-MM-dd", CultureInfo.InvariantCulture,
                DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var day) || day <= now)
                return new Problem(ProblemKind.Invalid, "Enter a day in the future, such as 2027-01-31.")
                {
                    Field = "Until",
                };
            until = day;
        }
        return Reason.Parse(input.Reason).Refused(out problem, out var why) ? problem
            : new Plan(amount, until, why);
    }

    /// <summary>What has become of a new one, in a sentence.</summary>
    public static string Say(SponsorshipRow made) => made.ShortSince is null
        ? $"{made.Email} gets {Show.Dollars(made.Amount)} a month from the fund; the first month has been credited."
        : $"{made.Email} gets {Show.Dollars(made.Amount)} a month from the fund. The fund cannot cover the first "
            + "month yet; it is paid as soon as it can.";

    /// <summary>The first month is paid at once, if the fund holds it.</summary>
    /// <returns>What the sponsorship is then.</returns>
    public static Task<Outcome<SponsorshipRow>> RunAsync(
        Db db, Settings settings, string actor, Input input, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<SponsorshipRow>(async transaction =>
        {
            var email = (input.Email ?? "").Trim().ToLowerInvariant();
            var now = time.GetUtcNow().UtcDateTime;
            var found = await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var facts = new Facts(email, found.Count > 0,
                await FundFacts.IsClosingAsync(transaction, email, cancel),
                await transaction.FindAsync<SponsorshipRow>(SponsorshipSql.FindOf, new { email }, cancel) is not null);
            if (Decide(facts, input, settings.Currency.Decimals, now).Refused(out var problem, out var plan))
                return problem;
            var id = await transaction.AskAsync<long>(
                SponsorshipSql.Add, new { email, plan.Amount, now, plan.Until, actor, plan.Reason }, cancel);
            await transaction.AuditAsync(actor, "sponsor_account", email, string.Create(CultureInfo.InvariantCulture,
                $"sponsorship {id}: {plan.Amount} a month; {plan.Reason}"), cancel);
            await PaySponsorship.InAsync(transaction, id, now, cancel);
            return await transaction.AskAsync<SponsorshipRow>(SponsorshipSql.Find, new { id }, cancel);
        }, cancel);
}
