using System.Globalization;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.BtcPay;

/// <summary>What invoices and events of BTCPay Server mean. No call is made here.</summary>
static class BtcPayReading
{
    /// <param name="methods">The invoice's payment methods, each with its rate and what has arrived by it.</param>
    public static PaymentState Of(JsonElement invoice, JsonElement methods)
    {
        var (settled, moving) = (0m, false);
        foreach (var method in methods.ValueKind == JsonValueKind.Array ? methods.EnumerateArray() : default)
        {
            var rate = Number(method, "rate");
            foreach (var payment in method.List("payments"))
            {
                if (payment.Text("status") == "Settled") settled += Number(payment, "value") * rate;
                moving |= payment.Text("status") == "Processing";
            }
        }
        // Paid as it was asked for: what was asked for, and not what rounding the coins makes of it.
        if (invoice.Text("status") == "Settled" && invoice.Text("additionalStatus") is "None" or "Marked" or null)
            settled = Number(invoice, "amount");
        var status = settled > 0 ? PaymentStatus.Paid
            : moving ? PaymentStatus.Pending
            : invoice.Text("status") switch
            {
                "Processing" => PaymentStatus.Pending,
                "Expired" => PaymentStatus.Expired,
                "Invalid" => PaymentStatus.Failed,
                _ => PaymentStatus.Open,
            };
        return new PaymentState(status, decimal.Round(settled, 8), 0, 0, "", 0, invoice.Text("id"),
            invoice.Text("currency") ?? "");
    }

    /// <summary>What has been claimed of a pull payment, in its own currency.</summary>
    public static RefundState Payouts(RefundState offered, JsonElement payouts)
    {
        var (sent, claimed, moving) = (0m, 0m, 0m);
        foreach (var payout in payouts.ValueKind == JsonValueKind.Array ? payouts.EnumerateArray() : default)
        {
            // Before version 2 of the server it was called amount.
            var amount = Number(payout, "originalAmount") is > 0 and var original ? original : Number(payout, "amount");
            switch (payout.Text("state"))
            {
                case "Completed":
                    sent += amount;
                    break;
                case "InProgress":
                    moving += amount;
                    break;
                case "AwaitingApproval" or "AwaitingPayment":
                    claimed += amount;
                    break;
            }
        }
        return offered with { Sent = sent, Claimed = claimed, Moving = moving };
    }

    /// <summary>An invoice of a list. An expired one may have got money, late or in parts.</summary>
    public static FoundPayment Found(JsonElement invoice) => new(
        invoice.Get("metadata")?.Text("orderId") ?? "", invoice.Text("id") ?? "", invoice.Text("checkoutLink") ?? "",
        invoice.Get("metadata")?.Text("buyerEmail") ?? "", Number(invoice, "amount"), invoice.Text("currency") ?? "",
        DateTimeOffset.FromUnixTimeSeconds(invoice.Whole("createdTime") ?? 0).UtcDateTime,
        (invoice.Text("status"), invoice.Text("additionalStatus")) switch
        {
            ("Settled", _) => PaymentStatus.Paid,
            ("New", _) => PaymentStatus.Open,
            ("Expired" or "Invalid", "None" or null) => PaymentStatus.Expired,
            _ => PaymentStatus.Pending,
        });

    /// <summary>Amounts are texts, so that no digit is lost.</summary>
    public static decimal Number(JsonElement from, string name)
    {
        if (from.ValueKind != JsonValueKind.Object || !from.TryGetProperty(name, out var value)) return 0;
        var text = value.ValueKind == JsonValueKind.String ? value.GetString() : value.GetRawText();
        return decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)
            ? number : 0;
    }

    public static Outcome<ProviderEvent> Event(JsonElement text)
    {
        // A delivery that is repeated has an ID of its own.
        var id = text.Text("originalDeliveryId") ?? text.Text("deliveryId");
        if (id is not { Length: > 0 and <= 255 } || text.Text("type") is not { Length: <= 100 } type)
            return new Problem(ProblemKind.Invalid, "It is no event.");
        return new ProviderEvent(id, type, text.Get("metadata")?.Text("orderId"), text.Text("invoiceId"), null,
            text.Text("pullPaymentId"));
    }
}
