using System.Globalization;
using System.Security.Cryptography;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// An operator sends money back by the way it came. It is no longer spendable from then on; the active Hub tells the
/// provider, again and again with the same key until there is an answer. If the provider refuses, it counts again.
/// Where whoever paid has to claim it (Bitcoin), what they have not claimed in the end counts again, too.
/// </summary>
public static class RefundPayment
{
    public const string KeyPrefix = "capsul-refund-";

    /// <summary>Where whoever paid has to claim it: for so long after it was decided.</summary>
    public static readonly TimeSpan ClaimFor = TimeSpan.FromDays(30);

    /// <summary>How long a refund that was sent may still fail at a provider: the bank does not take it.</summary>
    public static readonly TimeSpan FailsFor = TimeSpan.FromDays(30);

    /// <summary>What has become of a refund, in whole units: never more in all than the refund.</summary>
    public readonly record struct Parts(decimal Sent, decimal Claimed, decimal Moving);

    /// <summary>
    /// In whole units: a claim may be of less than a unit, and what has gone is not spendable, so that is rounded up
    /// and the rest down. A provider that says more than the refund is of is not believed.
    /// </summary>
    /// <param name="state">Null: it was refused.</param>
    public static Parts PartsOf(decimal amount, RefundState? state, int decimals)
    {
        if (state is null) return default;
        var unit = Charges.Unit(decimals);
        var sent = Math.Min(amount, decimal.Round(decimal.Ceiling(state.Sent / unit) * unit, 2));
        if (state.IsFinal) return new Parts(sent, 0, 0);
        var claimed = Math.Min(amount - sent, CreditPayment.Whole(state.Claimed, decimals));
        return new Parts(sent, claimed, Math.Min(amount - sent - claimed,
            CreditPayment.Whole(state.Moving, decimals)));
    }

    /// <summary>Null: nothing waits at the provider for somebody to pay it.</summary>
    public static string? ProblemOf(decimal claimed) =>
        claimed > 0 ? $"{Show.Dollars(claimed)} of a refund is claimed: pay it at the provider." : null;

    /// <summary>
    /// What can be sent back, in whole units: what the provider has, less what was taken back here by hand. So whatever
    /// is sent counts no longer in the ledger.
    /// </summary>
    /// <param name="sending">What is going back already.</param>
    public static decimal Left(ProviderPaymentRow payment, decimal sending, int decimals) =>
        CreditPayment.Counts(AtProvider(payment, sending, decimals), payment.Credited, payment.Counts);

    static decimal AtProvider(ProviderPaymentRow payment, decimal sending, int decimals) =>
        CreditPayment.Whole(payment.Received - payment.Refunded - payment.Held - sending, decimals);

    /// <summary>The amount, or why not.</summary>
    /// <param name="sending">What is going back already.</param>
    /// <param name="amount">As typed; empty: all that is left.</param>
    public static Outcome<decimal> Decide(ProviderPaymentRow? payment, decimal sending, string? amount, int decimals)
    {
        if (payment is null) return new Problem(ProblemKind.NotFound, "There is no such payment.");
        var left = Left(payment, sending, decimals);
        if (payment.Dispute == "open")
            return new Problem(ProblemKind.Conflict,
                "This payment is disputed: if the dispute is lost, the money goes back by that.");
        if (left <= 0)
            return new Problem(ProblemKind.Conflict, AtProvider(payment, sending, decimals) > 0
                ? "What is left of this payment was taken back here by hand: it has gone back already by another way."
                : "Nothing of this payment is left to send back.");
        if (string.IsNullOrWhiteSpace(amount)) return left;
        if (!decimal.TryParse(
            amount.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value) || value <= 0)
            return Wrong($"Enter an amount such as {Show.Examples(decimals)}, or nothing for all of it.");
        if (value != decimal.Round(value, decimals)) return Wrong(Show.TooFine(decimals));
        return value > left
            ? Wrong($"At most {Show.Plain(left)} can be sent back."
                + (left < AtProvider(payment, sending, decimals) ? " The rest was taken back here by hand." : ""))
            : value;
    }

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Amount" };

    /// <summary>Returns the amount.</summary>
    public static Task<Outcome<decimal>> RunAsync(Db db, Settings settings, string actor, long id, string? amount,
        string? reason, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<decimal>(async transaction =>
        {
            await transaction.FindAsync<string>(ProviderPaymentSql.LockAccount, new { id }, cancel);
            await transaction.FindAsync<long?>(ProviderPaymentSql.Lock, new { id }, cancel);
            var payment = await transaction.FindAsync<ProviderPaymentRow>(ProviderPaymentSql.Find, new { id }, cancel);
            var sending = (await transaction.ListAsync<ProviderRefundRow>(
                ProviderRefundSql.OfPayment, new { payment = id }, cancel)).Sum(r => r.Going);
            if (Decide(payment, sending, amount, settings.Currency.Decimals)
                .Refused(out var problem, out var value))
                return problem;
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            await InAsync(transaction, payment!, sending, value, why, settings, actor,
                time.GetUtcNow().UtcDateTime, cancel);
            return value;
        }, cancel);

    /// <summary>
    /// In the caller's transaction, which has locked the account and the payment and decided. Returns the number of the
    /// refund.
    /// </summary>
    /// <param name="key">Of one that the provider knows already; null: it is a new one.</param>
    public static async Task<long> InAsync(NpgsqlTransaction transaction, ProviderPaymentRow payment, decimal sending,
        decimal value, string why, Settings settings, string actor, DateTime now, CancellationToken cancel,
        string? key = null)
    {
        var id = payment.Id;
        key ??= KeyPrefix + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
        var refund = await transaction.AskAsync<long>(ProviderRefundSql.Add,
            new { payment = id, amount = value, key, reason = why, actor, now }, cancel);
        var rows = await transaction.ListAsync<CreditRow>(ProviderPaymentSql.Credits, new { id }, cancel);
        var plan = CreditPayment.Decide(new CreditPayment.Facts(payment.State(settings.Currency.Code),
            settings.Currency.Code, settings.Currency.Decimals, payment.Credited, sending + value, rows,
            payment.IsDoubtful));
        await CreditPayment.ApplyAsync(transaction, id, plan, $"refund: {why}", actor, now, cancel);
        await transaction.ExecuteAsync(ProviderPaymentSql.SetCredited, new { id, plan.Credited, now }, cancel);
        await transaction.AuditAsync(actor, "refund_payment", $"provider payment {id}",
            string.Create(CultureInfo.InvariantCulture, $"{value:0.####}; {why}"), cancel);
        return refund;
    }
}
