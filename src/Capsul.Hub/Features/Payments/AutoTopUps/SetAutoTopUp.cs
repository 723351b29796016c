using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Closings;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>A person turns automatic top-up on, or changes it.</summary>
public static class SetAutoTopUp
{
    /// <summary>All as typed.</summary>
    public sealed record Input(string? Threshold, string? Amount, string? Cap);

    /// <param name="Least">Smallest payment.</param>
    /// <param name="Most">Largest payment.</param>
    /// <param name="Decimals">Decimal places of the currency.</param>
    public sealed record Facts(decimal Least, decimal Most, int Decimals, bool HasCard, bool IsClosing);

    public sealed record Plan(decimal Threshold, decimal Amount, decimal Cap);

    public static Outcome<Plan> Decide(Facts facts, Input input)
    {
        if (facts.IsClosing)
            return new Problem(ProblemKind.Conflict, "This account is being closed: reopen it first.");
        if (!facts.HasCard) return new Problem(ProblemKind.Conflict, "Save a card first.");
        if (Parse("Threshold", input.Threshold, 0, facts.Most, facts).Refused(out var problem, out var threshold)
            || Parse("Amount", input.Amount, facts.Least, facts.Most, facts).Refused(out problem, out var amount))
            return problem;
        return Parse("Cap", input.Cap, amount, decimal.MaxValue, facts).Refused(out problem, out var cap) ? problem
            : new Plan(threshold, amount, cap);
    }

    static Outcome<decimal> Parse(string field, string? text, decimal least, decimal most, Facts facts)
    {
        // Zero is a threshold: the card is charged when something is owed.
        var read = field == "Threshold" && text?.Trim() is "0" or "0.00" ? 0m
            : TypedAmount.Parse(text, facts.Decimals);
        if (read.Refused(out var problem, out var value)) return problem with { Field = field };
        return value >= least && value <= most ? value : new Problem(ProblemKind.Invalid,
            field == "Cap" ? $"The monthly cap is at least the amount of a charge, {Show.Dollars(least)}."
                : $"Enter an amount from {Show.Dollars(least)} to {Show.Dollars(most)}.")
        { Field = field };
    }

    public static Task<Outcome<Plan>> RunAsync(
        Db db, Settings settings, string email, Input input, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<Plan>(async transaction =>
        {
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            await transaction.FindAsync<string>(AutoTopUpSql.Lock, new { email }, cancel);
            var facts = new Facts(settings.PaymentLeast, settings.PaymentMost, settings.Currency.Decimals,
                await transaction.FindAsync<SavedCardRow>(SavedCardSql.FindSaved, new { email }, cancel) is not null,
                await transaction.FindAsync<ClosingRow>(ClosingSql.FindOf, new { email }, cancel) is not null);
            if (Decide(facts, input).Refused(out var problem, out var plan)) return problem;
            await transaction.ExecuteAsync(AutoTopUpSql.Set, new
            {
                email,
                plan.Threshold,
                plan.Amount,
                plan.Cap,
                now = time.GetUtcNow().UtcDateTime,
            }, cancel);
            await transaction.AuditAsync(email, "set_auto_top_up", email, string.Create(CultureInfo.InvariantCulture,
                $"{plan.Amount} below {plan.Threshold}, at most {plan.Cap} a month"), cancel);
            return plan;
        }, cancel);
}
