using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>An operator gives an account an amount from the fund, once.</summary>
public static class GrantMoney
{
    /// <summary>Of the payment: nobody is told who gave.</summary>
    internal const string Note = "from the solidarity fund";

    /// <param name="Reason">For operators; the account does not see it on its pages.</param>
    public sealed record Input(string? Email, string? Amount, string? Reason);

    /// <param name="Exists">There is such an account.</param>
    /// <param name="Fund">What is in the fund, which is locked.</param>
    public sealed record Facts(string Email, bool Exists, bool IsClosing, decimal Fund);

    public sealed record Plan(decimal Amount, string Reason);

    public static Outcome<Plan> Decide(Facts facts, Input input, int decimals)
    {
        if (CheckAccount(facts.Email, facts.Exists, facts.IsClosing) is { } refusal) return refusal;
        if (TypedAmount.Parse(input.Amount, decimals).Refused(out var problem, out var amount)) return problem;
        if (Reason.Parse(input.Reason).Refused(out problem, out var why)) return problem;
        return amount > facts.Fund
            ? TypedAmount.Wrong($"The fund holds {Show.Dollars(facts.Fund)}, so that is the most it can give.")
            : new Plan(amount, why);
    }

    /// <summary>The refusal, or null.</summary>
    internal static Problem? CheckAccount(string email, bool exists, bool isClosing) =>
        !exists ? new(ProblemKind.NotFound, email.Length == 0 ? "Enter the email address of an account."
            : $"There is no account {email}.")
        { Field = "Email" }
        : isClosing ? new(ProblemKind.Conflict, $"{email} is being closed, or is closed.") { Field = "Email" }
        : null;

    /// <param name="key">Under which it is done once (<see cref="FundKey"/>).</param>
    /// <returns>The payment.</returns>
    public static Task<Outcome<int>> RunAsync(Db db, Settings settings, string actor, Input input, string? key,
        TimeProvider time, CancellationToken cancel) => db.DecideAsync<int>(async transaction =>
        {
            var email = (input.Email ?? "").Trim().ToLowerInvariant();
            var (now, decimals) = (time.GetUtcNow().UtcDateTime, settings.Currency.Decimals);
            if (FundKey.Check(key) is { } incomplete) return incomplete;
            var found = await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            if (await transaction.FindAsync<FundMovementRow>(FundSql.FindMovement, new { key }, cancel) is { } done)
                return TypedAmount.Parse(input.Amount, decimals).Refused(out var typo, out var again) ? typo
                    : FundKey.Repeat(done, email, again);
            var isClosing = await FundFacts.IsClosingAsync(transaction, email, cancel);
            await transaction.FindAsync<string>(DunningSql.LockTotals, new { email }, cancel);
            var fund = await transaction.AskAsync<decimal>(FundSql.Lock, null, cancel);
            if (Decide(new Facts(email, found.Count > 0, isClosing, fund), input, decimals)
                .Refused(out var problem, out var plan))
                return problem;
            var payment = await RecordPayment.InAsync(
                transaction, email, plan.Amount, "solidarity", Note, actor, now, cancel);
            await transaction.ExecuteAsync(FundSql.AddMovement, new { payment, key }, cancel);
            await transaction.AuditAsync(actor, "grant_money", string.Create(CultureInfo.InvariantCulture,
                $"payment {payment}"), string.Create(CultureInfo.InvariantCulture, $"{plan.Amount}; {plan.Reason}"),
                cancel);
            return payment;
        }, cancel);
}
