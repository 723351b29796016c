using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Closings;

/// <summary>
/// Ends an account whose capsuls are gone: its money leaves, and the account loses its name, in one transaction. What a
/// provider or an operator does afterwards is written down in it.
/// </summary>
public static class SettleAccount
{
    const string Actor = "closing";

    /// <summary>Providers, which send money back when they are asked.</summary>
    static readonly string[] Refunding = [.. PaymentProviders.Known.Select(k => k.Name)];

    /// <summary>What people have paid, and may have back. Vouchers and gifts are not.</summary>
    static readonly string[] Own = ["cash", "bank", "opening", "assigned", "play", .. Refunding];

    /// <param name="Left">Payments less usage in whole units, rounded for the account.</param>
    /// <param name="Payments">That count, the newest first.</param>
    public sealed record Facts(decimal Left, string Money, IReadOnlyList<SettlePaymentRow> Payments);

    /// <param name="ByProvider">Otherwise by hand.</param>
    public sealed record Part(SettlePaymentRow Payment, decimal Amount, bool ByProvider);

    /// <param name="Back">What goes back.</param>
    /// <param name="Given">To the solidarity fund.</param>
    /// <param name="Lapsed">Of vouchers.</param>
    /// <param name="WrittenOff">What the account owes.</param>
    /// <param name="Trial">Of trial credit, which lapses.</param>
    public sealed record Plan(
        IReadOnlyList<Part> Back, decimal Given, decimal Lapsed, decimal WrittenOff, decimal Trial = 0);

    /// <summary>
    /// Vouchers and gifts count as used first, so that people have back as much as they have paid in, less what they
    /// have given to the fund; what is left of vouchers and gifts goes to where it came from.
    /// </summary>
    public static Plan Decide(Facts facts)
    {
        if (facts.Left <= 0) return new Plan([], 0, 0, -facts.Left);
        var left = facts.Left;
        var own = OwnOf(facts);
        var back = new List<Part>();
        foreach (var payment in facts.Payments.Where(p => Own.Contains(p.Method, StringComparer.Ordinal)
            && p.Dollars > 0))
        {
            var amount = Math.Min(own, payment.Dollars);
            if (amount <= 0) break;
            (own, left) = (own - amount, left - amount);
            back.Add(new Part(payment, amount,
                facts.Money == ClosingMoney.Back && payment.Refundable >= amount));
        }
        var trial = Math.Clamp(SumOf(facts, "trial") - UsedOf(facts), 0, left);
        left -= trial;
        var lapsed = Math.Clamp(SumOf(facts, "voucher"), 0, left);
        return facts.Money == ClosingMoney.Fund
            ? new Plan([], left - lapsed + back.Sum(p => p.Amount), lapsed, 0, trial)
            : new Plan(back, left - lapsed, lapsed, 0, trial);
    }

    /// <summary>
    /// What is left of what the person has paid. Without this, whoever gives their own money away would have that of a
    /// voucher paid back in its place.
    /// </summary>
    static decimal OwnOf(Facts facts)
    {
        var granted = SumOf(facts, "voucher") + SumOf(facts, "trial")
            + facts.Payments.Where(p => p is { Method: "solidarity", Dollars: > 0 }).Sum(p => p.Dollars);
        return Math.Max(0, facts.Left - Math.Max(0, granted - UsedOf(facts)));
    }

    static decimal SumOf(Facts facts, string method) =>
        facts.Payments.Where(p => p.Method == method).Sum(p => p.Dollars);

    static decimal UsedOf(Facts facts) => facts.Payments.Sum(p => p.Dollars) - facts.Left;

    /// <summary>False: it is not time yet, a dispute is not decided, or it is no longer time.</summary>
    public static async Task<bool> InAsync(NpgsqlTransaction transaction, ClosingRow closing, Settings settings,
        DateTime now, CancellationToken cancel)
    {
        var email = closing.Email;
        await transaction.FindAsync<string>(ClosingSql.LockAccount, new { email }, cancel);
        if (await transaction.FindAsync<ClosingRow>(ClosingSql.Find, new { id = closing.Id }, cancel)
            is not { Settled: null } fresh || fresh.Due > now)
            return false;
        await transaction.ExecuteAsync(ClosingSql.LockPayments, new { email }, cancel);
        await transaction.ExecuteAsync(Dunning.DunningSql.LockTotals, new { email }, cancel);
        if (await transaction.FindAsync<SettleTotalsRow>(ClosingSql.Totals, new { email }, cancel)
            is { OpenSpans: 0, Alive: 0, Disputes: 0 } totals)
        {
            var left = totals.Paid - Charges.Whole(totals.Used, settings.Currency.Decimals);
            var payments = await transaction.ListAsync<SettlePaymentRow>(
                ClosingSql.Payments, new { email, refunding = Refunding }, cancel);
            var plan = Decide(new Facts(left, fresh.Money, payments));
            await transaction.ExecuteAsync(ProviderPaymentSql.SetKept, new
            {
                email,
                payments = plan.Back.Select(p => p.Payment.Id).ToArray(),
                amounts = plan.Back.Select(p => p.Amount).ToArray(),
            }, cancel);
            await PayAsync(transaction, fresh, plan, settings, now, cancel);
            await transaction.ExecuteAsync(ClosingSql.Settle,
                new { id = fresh.Id, now, contact = email, forget = ForgetAt(now, settings) }, cancel);
            await transaction.AuditAsync(Actor, "settle_account", email, string.Create(CultureInfo.InvariantCulture,
                $"{left} left; {plan.Back.Sum(p => p.Amount)} back, {plan.Given} given, ") + string.Create(
                CultureInfo.InvariantCulture, $"{plan.Lapsed + plan.Trial} lapsed, {plan.WrittenOff} written off"),
                cancel);
            await transaction.AskAsync<string>(
                ClosingSql.ForgetPerson, new { email, pseudonym = PseudonymOf(fresh) }, cancel);
            return true;
        }
        return false;
    }

    /// <summary>No email address looks like it, so nobody can sign in with it.</summary>
    public static string PseudonymOf(ClosingRow closing) =>
        string.Create(CultureInfo.InvariantCulture, $"closed-{closing.Id}");

    /// <summary>The law counts whole years, from the end of that of the last receipt.</summary>
    static DateTime ForgetAt(DateTime now, Settings settings) =>
        new(now.Year + 1 + settings.KeepReceiptsYears, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    static async Task PayAsync(NpgsqlTransaction transaction, ClosingRow closing, Plan plan, Settings settings,
        DateTime now, CancellationToken cancel)
    {
        var email = closing.Email;
        foreach (var part in plan.Back)
        {
            // Play money is none, so nobody has to send it.
            if (part.Payment.Method == "play")
            {
                await ReturnPayment.InAsync(
                    transaction, part.Payment.Id, part.Amount, "the account is closed", Actor, now, cancel);
                continue;
            }
            var refund = part.ByProvider
                ? await RefundAsync(transaction, part, settings, now, cancel) : default(long?);
            await transaction.ExecuteAsync(ClosingPayoutSql.Add,
                new { closing = closing.Id, payment = part.Payment.Id, refund, part.Amount, now }, cancel);
        }
        foreach (var (method, dollars, note) in new[]
        {
            ("solidarity", -plan.Given, "given to the solidarity fund"),
            ("voucher", -plan.Lapsed, "not used"), ("trial", -plan.Trial, "not used"),
            ("write_off", plan.WrittenOff, "not paid"),
        })
        {
            if (dollars != 0)
                await RecordPayment.InAsync(transaction, email, dollars, method, note, Actor, now, cancel);
        }
    }

    static async Task<long?> RefundAsync(
        NpgsqlTransaction transaction, Part part, Settings settings, DateTime now, CancellationToken cancel)
    {
        var id = part.Payment.ProviderPayment!.Value;
        var payment = await transaction.AskAsync<ProviderPaymentRow>(ProviderPaymentSql.Find, new { id }, cancel);
        var sending = payment.Received - payment.Refunded - payment.Held - part.Payment.Refundable;
        return await RefundPayment.InAsync(transaction, payment, sending, part.Amount, "the account is closed",
            settings, Actor, now, cancel);
    }
}
