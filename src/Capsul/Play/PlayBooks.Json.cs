using System.Text.Json.Nodes;

namespace Capsul.Play;

/// <summary>The objects as Stripe writes them, as far as anybody reads them.</summary>
public sealed partial class PlayBooks
{
    JsonObject Json(PlaySession session, bool expand) => new()
    {
        ["id"] = session.Id,
        ["object"] = "checkout.session",
        ["amount_subtotal"] = session.Amount,
        ["amount_total"] = session.Amount,
        ["cancel_url"] = session.CancelUrl,
        ["client_reference_id"] = session.Key,
        ["created"] = session.Created,
        ["currency"] = session.Currency,
        ["customer_email"] = session.Email,
        ["expires_at"] = Now + 86_400,
        ["livemode"] = false,
        ["metadata"] = new JsonObject(),
        ["mode"] = "payment",
        ["payment_intent"] = session.Status != "complete" ? null
            : expand ? IntentJson(session, expand: true) : JsonValue.Create(session.Intent),
        ["payment_status"] = session.PaymentStatus,
        ["status"] = session.Status,
        ["success_url"] = session.SuccessUrl,
        ["url"] = session.Status == "open" ? new Uri(address, $"c/pay/{session.Id}").ToString() : null,
    };

    JsonObject IntentJson(PlaySession session, bool expand) => new()
    {
        ["id"] = session.Intent,
        ["object"] = "payment_intent",
        ["amount"] = session.Amount,
        ["amount_received"] = session.IsPaid ? session.Amount : 0,
        ["created"] = session.Created,
        ["currency"] = session.Currency,
        ["customer"] = session.Customer.Length > 0 ? session.Customer : null,
        ["last_payment_error"] = session.Decline.Length > 0 ? DeclineJson(session) : null,
        ["latest_charge"] = !session.IsPaid && session.Decline.Length == 0 ? null
            : expand ? ChargeJson(session) : JsonValue.Create(session.Charge),
        ["livemode"] = false,
        ["metadata"] = MetadataOf(session),
        ["payment_method"] = session.Card?.Id,
        ["receipt_email"] = session.Card is not null && session.Email.Length > 0 ? session.Email : null,
        ["status"] = session.IsPaid ? "succeeded" : session.Decline.Length == 0 ? "processing"
            : session.Status == "canceled" ? "canceled" : "requires_payment_method",
    };

    JsonObject ChargeJson(PlaySession session) => new()
    {
        ["id"] = session.Charge,
        ["object"] = "charge",
        ["amount"] = session.Amount,
        ["amount_captured"] = session.IsPaid ? session.Amount : 0,
        ["amount_refunded"] = session.Refunded,
        ["balance_transaction"] = !session.IsPaid ? null : new JsonObject
        {
            ["id"] = "txn_" + session.Id[3..],
            ["object"] = "balance_transaction",
            ["amount"] = session.Amount,
            ["currency"] = session.Currency,
            ["fee"] = session.Fee,
            ["net"] = session.Amount - session.Fee,
        },
        ["currency"] = session.Currency,
        ["disputed"] = session.Dispute.Length > 0,
        ["failure_code"] = session.Decline.Length > 0 ? CodeOf(session.Decline) : null,
        ["livemode"] = false,
        ["metadata"] = MetadataOf(session),
        ["paid"] = session.IsPaid,
        ["payment_intent"] = session.Intent,
        ["refunded"] = session.Refunded == session.Amount,
        ["status"] = session.IsPaid ? "succeeded" : "failed",
    };

    static JsonObject RefundJson(PlaySession session, PlayRefund refund) => new()
    {
        ["id"] = refund.Id,
        ["object"] = "refund",
        ["amount"] = refund.Amount,
        ["charge"] = session.Charge,
        ["created"] = refund.Created,
        ["currency"] = session.Currency,
        ["failure_reason"] = refund.FailureReason,
        ["metadata"] = new JsonObject { ["capsul_key"] = refund.Key },
        ["payment_intent"] = session.Intent,
        ["status"] = refund.Status,
    };

    JsonObject DisputeJson(PlaySession session) => new()
    {
        ["id"] = "dp_" + session.Id[3..],
        ["object"] = "dispute",
        ["amount"] = session.Amount,
        ["balance_transactions"] = new JsonArray(new JsonObject
        {
            ["object"] = "balance_transaction",
            ["amount"] = -session.Amount,
            ["currency"] = session.Currency,
            ["fee"] = PlaySession.DisputeFee,
            ["net"] = -session.Amount - PlaySession.DisputeFee,
        }),
        ["charge"] = session.Charge,
        ["currency"] = session.Currency,
        ["payment_intent"] = session.Intent,
        ["reason"] = "fraudulent",
        ["status"] = session.Dispute,
    };

    static JsonObject MetadataOf(PlaySession session)
    {
        var metadata = new JsonObject();
        foreach (var (name, value) in session.Metadata) metadata[name] = value;
        return metadata;
    }

    static JsonObject ListJson(string url, IEnumerable<JsonObject> items, bool hasMore = false) => new()
    {
        ["object"] = "list",
        ["data"] = new JsonArray([.. items]),
        ["has_more"] = hasMore,
        ["url"] = url,
    };
}
