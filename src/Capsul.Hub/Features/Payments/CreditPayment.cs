using System.Globalization;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// Makes the payments of an account say what its provider says. It only looks at sums as they are now, so an event that
/// comes twice, late or in another order, or never, ends in the same rows. A payment is never edited: another amount
/// is another row, and the old one is invalidated. What an operator has taken back by hand stays taken back, whatever
/// changes at the provider afterwards; only what comes on top of it counts.
/// </summary>
public static class CreditPayment
{
    /// <param name="Credited">What was decided last: what counted then, and what had been taken back by hand.</param>
    /// <param name="Sending">Refunds of ours that the provider does not know yet: they are no longer spendable.</param>
    /// <param name="Decimals">Decimal places of the currency.</param>
    /// <param name="IsDoubtful">What the provider says cannot be about this payment: nothing counts.</param>
    public sealed record Facts(PaymentState State, string Currency, int Decimals, decimal Credited, decimal Sending,
        IReadOnlyList<CreditRow> Rows, bool IsDoubtful = false);

    /// <param name="Credited">What counts from now on, and what was taken back by hand.</param>
    /// <param name="Invalidate">The row that counts no longer.</param>
    /// <param name="Validate">An earlier row of this amount that counts again.</param>
    /// <param name="Added">There is no such row: one of this amount is added; 0: none.</param>
    public sealed record Plan(decimal Credited, int? Invalidate, int? Validate, decimal Added);

    /// <summary>What a payment is worth: what the provider has of it, in whole units, rounded down.</summary>
    public static decimal Worth(Facts facts)
    {
        var state = facts.State;
        return facts.IsDoubtful || !state.Currency.Equals(facts.Currency, StringComparison.OrdinalIgnoreCase) ? 0
            : Whole(state.Received - state.Refunded - state.Held - facts.Sending, facts.Decimals);
    }

    /// <summary>In whole units, rounded down; never less than nothing.</summary>
    public static decimal Whole(decimal amount, int decimals)
    {
        var unit = Charges.Unit(decimals);
        var left = Math.Max(0, amount);
        return decimal.Round(left - left % unit, 2);
    }

    /// <summary>What an operator has taken back by hand, other than by a refund.</summary>
    /// <param name="counts">What counts now, in rows of payments.</param>
    public static decimal TakenBack(decimal credited, decimal counts) => Math.Max(0, credited - counts);

    /// <summary>What of a provider's payment still counts: its worth less what was taken back by hand.</summary>
    public static decimal Counts(decimal worth, decimal credited, decimal counts) =>
        Math.Max(0, worth - TakenBack(credited, counts));

    public static Plan Decide(Facts facts)
    {
        var worth = Worth(facts);
        var row = facts.Rows.FirstOrDefault(r => !r.Invalidated);
        var counted = row?.Dollars ?? 0;
        // Nothing has changed at the provider: what an operator did by hand stays as it is.
        if (worth == facts.Credited) return new Plan(worth, null, null, 0);
        var counts = Counts(worth, facts.Credited, counted);
        var credited = counts + TakenBack(facts.Credited, counted);
        if (counts == counted) return new Plan(credited, null, null, 0);
        var again = counts == 0 ? null : facts.Rows.FirstOrDefault(r => r.Invalidated && r.Dollars == counts);
        return new Plan(credited, row?.Id, again?.Id, again is null ? counts : 0);
    }

    /// <summary>Why another amount counts now, for the payment's note and the audit line.</summary>
    public static string Why(PaymentState state) => state switch
    {
        { Dispute: "open" } => "disputed: held until it is decided",
        { Dispute: "lost" } => "lost by a dispute",
        { Dispute: "won" } => "a dispute was won",
        { Refunded: > 0 } => "after a refund",
        _ => "paid",
    };

    /// <summary>What an operator has to know of it; else empty.</summary>
    public static string ProblemOf(PaymentState state, string currency) =>
        state.Received > 0 && !state.Currency.Equals(currency, StringComparison.OrdinalIgnoreCase)
            ? $"It was paid in {state.Currency.ToUpperInvariant()}, and nothing was credited: all amounts here are in "
                + $"{currency}." : "";

    /// <summary>In the caller's transaction, which has locked the account and the provider's payment.</summary>
    public static async Task ApplyAsync(
        NpgsqlTransaction transaction, long id, Plan plan, string why, string actor, DateTime now,
        CancellationToken cancel)
    {
        if (plan is { Invalidate: null, Validate: null, Added: 0 }) return;
        if (plan.Invalidate is { } old)
            await transaction.ExecuteAsync(ProviderPaymentSql.Validate, new { id = old, invalidated = true }, cancel);
        var counts = plan.Validate;
        if (counts is { } again)
            await transaction.ExecuteAsync(
                ProviderPaymentSql.Validate, new { id = again, invalidated = false }, cancel);
        else if (plan.Added > 0)
            counts = await transaction.AskAsync<int>(ProviderPaymentSql.AddCredit,
                new { id, now, dollars = plan.Added, note = why }, cancel);
        await transaction.AuditAsync(actor, "credit_payment", $"provider payment {id}", string.Create(
            CultureInfo.InvariantCulture, $"{plan.Credited} by payment {counts}; {why}"), cancel);
    }
}
