using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>What Stripe's objects mean. No call is made here.</summary>
public static partial class StripeReading
{
    public static PaymentState Of(
        JsonElement session, JsonElement? intent, JsonElement? charge, IReadOnlyList<JsonElement> disputes)
    {
        return Of(StatusOf(session, intent), session.Text("currency") ?? "", session.Whole("amount_total"),
            session.Id("payment_intent"), charge, disputes);
    }

    /// <param name="intent">The ID of the PaymentIntent.</param>
    static PaymentState Of(string status, string currency, long? total, string? intent, JsonElement? charge,
        IReadOnlyList<JsonElement> disputes)
    {
        decimal Amount(long? units) => StripeAmounts.FromUnits(units ?? 0, currency);
        var paid = status == PaymentStatus.Paid && charge is { } c && c.Text("status") == "succeeded";
        var held = disputes.Where(d => d.Text("status") is not ("won" or "warning_closed")
            && !IsInquiry(d)).Sum(d => Amount(d.Whole("amount")));
        return new PaymentState(
            // Without its charge, Stripe has only just begun to move the money.
            status == PaymentStatus.Paid && !paid ? PaymentStatus.Pending : status,
            paid ? Amount(charge!.Value.Whole("amount_captured") ?? total) : 0,
            charge is { } of ? Amount(of.Whole("amount_refunded")) : 0, held, DisputeOf(disputes),
            FeeOf(charge, disputes, currency), intent, currency);
    }

    static string StatusOf(JsonElement session, JsonElement? intent) =>
        (session.Text("status"), session.Text("payment_status")) switch
        {
            ("complete", "paid" or "no_payment_required") => PaymentStatus.Paid,
            // A bank debit takes days, and may fail in the end.
            ("complete", _) => intent?.Text("status") is "requires_payment_method" or "canceled"
                ? PaymentStatus.Failed : PaymentStatus.Pending,
            ("expired", _) => PaymentStatus.Expired,
            _ => PaymentStatus.Open,
        };

    /// <summary>A session of a list.</summary>
    public static FoundPayment Found(JsonElement session)
    {
        var currency = session.Text("currency") ?? "";
        return new FoundPayment(session.Text("client_reference_id") ?? "", session.Text("id") ?? "",
            session.Text("url") ?? "",
            // Who pays for a friend is not whose account it is.
            PaymentKey.IsFriends(session.Text("client_reference_id")) ? ""
                : session.Text("customer_email") ?? session.Get("customer_details")?.Text("email") ?? "",
            StripeAmounts.FromUnits(session.Whole("amount_total") ?? 0, currency), currency.ToUpperInvariant(),
            DateTimeOffset.FromUnixTimeSeconds(session.Whole("created") ?? 0).UtcDateTime, StatusOf(session, null));
    }

    /// <param name="movements">Balance transactions, with their sources; the payout itself is one of them.</param>
    public static FoundPayout Payout(JsonElement payout, IReadOnlyList<JsonElement> movements)
    {
        var currency = payout.Text("currency") ?? "";
        decimal Amount(JsonElement of, string name) => StripeAmounts.FromUnits(of.Whole(name) ?? 0, currency);
        return new FoundPayout(payout.Text("id") ?? "", Amount(payout, "amount"), currency.ToUpperInvariant(),
            DateOnly.FromDateTime(DateTimeOffset.FromUnixTimeSeconds(payout.Whole("arrival_date") ?? 0).UtcDateTime),
            payout.Text("status") switch
            {
                "paid" => PayoutStatus.Paid,
                "failed" or "canceled" => PayoutStatus.Failed,
                _ => PayoutStatus.Moving,
            },
            [
                .. movements.Where(m => m.Text("type") is not ("payout" or "payout_failure" or "payout_cancel"))
                    .Select(m => new PayoutMovement(m.Text("type") ?? "", Amount(m, "net"),
                        m.Get("source")?.Id("payment_intent"),
                        m.Get("source")?.Get("metadata")?.Text(StripeProvider.KeyName), NatureOf(m))),
            ]);
    }

    /// <summary>
    /// By what Stripe says it is for accounting, and by the type where that is missing. A platform's application_fee
    /// is its earning, and no fee. (https://docs.stripe.com/reports/reporting-categories)
    /// </summary>
    static MovementNature NatureOf(JsonElement movement) =>
        (movement.Text("reporting_category"), movement.Text("type")) switch
        {
            ("fee" or "tax" or "network_cost", _) => MovementNature.Fee,
            (null, "stripe_fee" or "stripe_fx_fee" or "tax_fee" or "network_cost") => MovementNature.Fee,
            (_, "reserved_funds" or "reserve_hold" or "reserve_release" or "payment_network_reserve_hold"
                or "payment_network_reserve_release" or "payout_minimum_balance_hold"
                or "payout_minimum_balance_release") => MovementNature.Held,
            _ => MovementNature.Other,
        };

    /// <summary>An inquiry of a bank: no money has moved.</summary>
    static bool IsInquiry(JsonElement dispute) =>
        dispute.Text("status")?.StartsWith("warning_", StringComparison.Ordinal) == true;

    static string DisputeOf(IReadOnlyList<JsonElement> disputes)
    {
        var states = disputes.Where(d => !IsInquiry(d)).Select(d => d.Text("status")).ToList();
        return states.Count == 0 ? "" : states.Exists(s => s is not ("won" or "lost")) ? "open"
            : states.Contains("lost", StringComparer.Ordinal) ? "lost" : "won";
    }

    /// <summary>Of the charge and of its disputes. In another currency than the payment's it is not known.</summary>
    static decimal FeeOf(JsonElement? charge, IReadOnlyList<JsonElement> disputes, string currency)
    {
        var moves = disputes.SelectMany(d => d.List("balance_transactions")).ToList();
        if (charge?.Get("balance_transaction") is { } move) moves.Add(move);
        var units = moves.Where(m => m.Text("currency") == currency).Sum(m => m.Whole("fee") ?? 0);
        return StripeAmounts.FromUnits(Math.Max(0, units), currency);
    }

    /// <summary>
    /// Refused: it has failed, and the money is back. A refund that succeeded may still fail, for about a month.
    /// (https://docs.stripe.com/refunds#failed-refunds)
    /// </summary>
    public static Outcome<RefundState> Refund(decimal amount, JsonElement refund)
    {
        if (refund.Text("id") is not { Length: > 0 } id)
            return new Problem(ProblemKind.Unavailable, "Stripe's answer has no refund.");
        var why = refund.Text("failure_reason") is { Length: > 0 and <= 100 } reason
            ? $": {reason.Replace('_', ' ')}" : "";
        return refund.Text("status") switch
        {
            "failed" or "canceled" =>
                new Problem(ProblemKind.Invalid, $"Stripe says that the refund {id} has failed{why}."),
            "succeeded" => new RefundState(id, "", amount, 0, 0, IsFinal: true, ""),
            // pending, requires_action, and what there may be besides: it is not known yet.
            _ => new RefundState(id, "", 0, 0, 0, IsFinal: false, ""),
        };
    }

    public static Outcome<ProviderEvent> Event(JsonElement text)
    {
        if (text.Text("id") is not { Length: > 0 and <= 255 } id || text.Text("type") is not { Length: <= 100 } type)
            return new Problem(ProblemKind.Invalid, "It is no event.");
        if (text.Get("data")?.Get("object") is not { } about)
            return new ProviderEvent(id, type, null, null, null);
        var isSession = about.Text("object") == "checkout.session";
        var key = about.Text("client_reference_id") ?? about.Get("metadata")?.Text(StripeProvider.KeyName);
        return new ProviderEvent(id, type, key, isSession ? about.Text("id") : null,
            about.Text("object") == "payment_intent" ? about.Text("id") : about.Id("payment_intent"));
    }
}
