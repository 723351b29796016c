using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json.Nodes;

namespace Capsul.Play;

/// <summary>A refund, in cents.</summary>
/// <param name="Created">Seconds of Unix time.</param>
public sealed record PlayRefund(string Id, long Amount, string Key, long Created)
{
    /// <summary>pending, requires_action, succeeded, failed or canceled.</summary>
    public string Status { get; set; } = "succeeded";

    /// <summary>In Stripe's code, once it has failed.</summary>
    public string? FailureReason { get; set; }

    /// <summary>The money has gone, or is going.</summary>
    public bool Counts => Status is not ("failed" or "canceled");
}

/// <summary>
/// A checkout of the play provider, or a charge of a saved card, with what has become of it. Amounts are in cents.
/// </summary>
public sealed class PlaySession
{
    public required string Id { get; init; }

    public required string Key { get; init; }

    public required string Email { get; init; }

    public required string SuccessUrl { get; init; }

    public required string CancelUrl { get; init; }

    public required string Currency { get; set; }

    public required long Amount { get; set; }

    /// <summary>Seconds of Unix time.</summary>
    public required long Created { get; init; }

    public required IReadOnlyDictionary<string, string> Metadata { get; set; }

    /// <summary>A saved card that is charged: there is no checkout. Null: there is one.</summary>
    public PlayCard? Card { get; init; }

    /// <summary>The ID of whose card it is.</summary>
    public string Customer { get; set; } = "";

    /// <summary>Why the card was declined; empty: it was not.</summary>
    public string Decline { get; set; } = "";

    public string Status { get; set; } = "open";

    public string PaymentStatus { get; set; } = "unpaid";

    public List<PlayRefund> Refunds { get; } = [];

    /// <summary>Empty: not disputed.</summary>
    public string Dispute { get; set; } = "";

    public string Intent => "pi_" + Id[3..];

    public string Charge => "ch_" + Id[3..];

    public bool IsPaid => PaymentStatus == "paid";

    public long Refunded => Refunds.Where(r => r.Counts).Sum(r => r.Amount);

    public long Fee => IsPaid ? Amount * 29 / 1000 + 30 : 0;

    /// <summary>What a dispute costs besides.</summary>
    public const long DisputeFee = 1500;

    /// <summary>What the provider keeps for all that.</summary>
    public long Costs => Fee + (Dispute.Length > 0 ? DisputeFee : 0);

    /// <summary>What is left of it for the one that it was paid to, in cents.</summary>
    public long Kept => !IsPaid || Dispute is not ("" or "won") ? 0 : Amount - Refunded;
}

/// <summary>What the play provider knows, and the requests that change it.</summary>
public sealed partial class PlayBooks(Uri address, TimeProvider time, Action<string, JsonObject> tell)
{
    readonly Lock gate = new();
    readonly Dictionary<string, PlaySession> sessions = new(StringComparer.Ordinal);
    readonly ConcurrentDictionary<string, (string Request, PlayAnswer Answer)> calls = new(StringComparer.Ordinal);
    int made;

    public IReadOnlyList<PlaySession> Sessions
    {
        get { lock (gate) return [.. sessions.Values]; }
    }

    /// <summary>A request with a key is carried out once; the same key with other parameters is refused.</summary>
    public (PlayAnswer Answer, bool IsReplay) Once(
        string key, string path, IReadOnlyDictionary<string, string> form, Func<PlayAnswer> act)
    {
        if (key.Length == 0) return (act(), false);
        var request = path + string.Join('&', form.OrderBy(f => f.Key, StringComparer.Ordinal)
            .Select(f => $"{f.Key}={f.Value}"));
        lock (gate)
        {
            if (calls.TryGetValue(key, out var known))
                return known.Request == request ? (known.Answer, true) : (new PlayAnswer(400, PlayError.Json(
                    "idempotency_error", "Keys for idempotent requests can only be used with the same parameters they "
                    + $"were first used with. Try using a key other than '{key}' if you meant to execute a different "
                    + "request.")), false);
            var answer = act();
            // A request that was refused before anything was done is not kept.
            if (answer.Status is 200 or 402) calls[key] = (request, answer);
            return (answer, false);
        }
    }

    public JsonObject AddSession(IReadOnlyDictionary<string, string> form)
    {
        if (form.GetValueOrDefault("mode") == "setup") return AddCardPage(form);
        PlayForms.CheckSession(form);
        var amount = PlayForms.AmountOf(form);
        lock (gate)
        {
            var id = string.Create(CultureInfo.InvariantCulture, $"cs_test_play{++made:D8}");
            var session = new PlaySession
            {
                Id = id,
                Key = form.GetValueOrDefault("client_reference_id", ""),
                Email = form.GetValueOrDefault("customer_email", ""),
                SuccessUrl = form["success_url"],
                CancelUrl = form.GetValueOrDefault("cancel_url", form["success_url"]),
                Currency = form["line_items[0][price_data][currency]"],
                Amount = amount,
                Created = Now,
                Metadata = form.Where(f => f.Key.StartsWith("payment_intent_data[metadata][", StringComparison.Ordinal))
                    .ToDictionary(f => f.Key["payment_intent_data[metadata][".Length..^1], f => f.Value,
                        StringComparer.Ordinal),
            };
            sessions[id] = session;
            return Json(session, expand: false);
        }
    }

    /// <summary>Newest first.</summary>
    /// <param name="after">The last one of the page before; empty: the first page.</param>
    public JsonObject ListSessions(long since, string after, int limit)
    {
        lock (gate)
        {
            var rest = sessions.Values.Where(s => s.Card is null && s.Created >= since).Reverse().ToList();
            if (after.Length > 0) rest = [.. rest.SkipWhile(s => s.Id != Find(after).Id).Skip(1)];
            return ListJson("/v1/checkout/sessions", rest.Take(limit).Select(s => Json(s, expand: false)),
                rest.Count > limit);
        }
    }

    public JsonObject ShowSession(string id, string expand)
    {
        lock (gate)
            return cardPages.TryGetValue(id, out var page) ? Json(page, expand == "setup_intent.payment_method")
                : Find(id) is { Card: null } session
                ? Json(session, expand.StartsWith("payment_intent.latest_charge", StringComparison.Ordinal))
                : throw PlayError.Missing("checkout.session", id);
    }

    PlaySession Find(string id) =>
        sessions.GetValueOrDefault(id) ?? throw PlayError.Missing("checkout.session", id);

    PlaySession OfIntent(string id) => sessions.GetValueOrDefault("cs_" + id[Math.Min(3, id.Length)..])
        is { Status: not "open" } found && found.Intent == id ? found : throw PlayError.Missing("payment_intent", id);

    public JsonObject AddRefund(IReadOnlyDictionary<string, string> form)
    {
        PlayForms.CheckRefund(form);
        lock (gate)
        {
            var session = OfIntent(form.GetValueOrDefault("payment_intent", ""));
            var left = session.Amount - session.Refunded;
            var amount = form.TryGetValue("amount", out var text) ? PlayForms.Integer(text, "amount") : left;
            if (!session.IsPaid)
                throw PlayError.Invalid($"PaymentIntent {session.Intent} does not have a successful charge to refund.");
            if (session.Dispute is not ("" or "won"))
                throw PlayError.Invalid(
                    $"Charge {session.Charge} has been charged back; cannot issue a refund.", code: "charge_disputed");
            if (left == 0)
                throw PlayError.Invalid(
                    $"Charge {session.Charge} has already been refunded.", code: "charge_already_refunded");
            if (amount > left)
                throw PlayError.Invalid(
                    $"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", "amount");
            if (amount < 1) throw PlayError.Invalid("Invalid positive integer", "amount", "parameter_invalid_integer");
            var id = string.Create(CultureInfo.InvariantCulture, $"re_play{++made:D8}");
            session.Refunds.Add(new PlayRefund(id, amount, form.GetValueOrDefault("metadata[capsul_key]", ""), Now)
            { Status = NewRefunds });
            tell("charge.refunded", ChargeJson(session));
            return RefundJson(session, session.Refunds[^1]);
        }
    }

    /// <summary>The status of refunds that are made from now on.</summary>
    public string NewRefunds { get; set; } = "succeeded";

    /// <summary>Another status of a refund: it goes through, or it does not, also long after it succeeded.</summary>
    /// <param name="reason">Why it failed, in Stripe's code.</param>
    public void TurnRefund(string id, string status, string? reason = null)
    {
        lock (gate)
        {
            var session = sessions.Values.Single(s => s.Refunds.Exists(r => r.Id == id));
            var refund = session.Refunds.Single(r => r.Id == id);
            (refund.Status, refund.FailureReason) = (status, reason);
            tell(status == "failed" ? "refund.failed" : "refund.updated", RefundJson(session, refund));
            tell("charge.refund.updated", RefundJson(session, refund));
        }
    }

    public JsonObject ShowRefund(string id)
    {
        lock (gate)
            return sessions.Values.SelectMany(s => s.Refunds.Where(r => r.Id == id), RefundJson).FirstOrDefault()
                ?? throw PlayError.Missing("refund", id);
    }

    public JsonObject ListRefunds(string intent)
    {
        lock (gate)
        {
            var session = OfIntent(intent);
            return ListJson("/v1/refunds",
                session.Refunds.AsEnumerable().Reverse().Select(r => RefundJson(session, r)));
        }
    }

    public JsonObject ListDisputes(string charge)
    {
        lock (gate)
        {
            var session = sessions.GetValueOrDefault("cs_" + charge[Math.Min(3, charge.Length)..]);
            return ListJson("/v1/disputes", session is { Dispute.Length: > 0 } ? [DisputeJson(session)] : []);
        }
    }

    /// <summary>The person pays, with a card that works or does not.</summary>
    public PlaySession Pay(string id)
    {
        lock (gate)
        {
            var session = Find(id);
            if (session.Status != "open") return session;
            (session.Status, session.PaymentStatus) = ("complete", "paid");
            tell("payment_intent.succeeded", IntentJson(session, expand: false));
            tell("charge.succeeded", ChargeJson(session));
            tell("checkout.session.completed", Json(session, expand: false));
            return session;
        }
    }

    /// <summary>The person pays by a way that takes days; and what comes of it.</summary>
    public void PayLater(string id)
    {
        lock (gate)
        {
            var session = Find(id);
            if (session.Status != "open") return;
            session.Status = "complete";
            tell("checkout.session.completed", Json(session, expand: false));
        }
    }

    public void Arrive(string id)
    {
        lock (gate)
        {
            var session = Find(id);
            if (session.Status != "complete" || session.IsPaid) return;
            session.PaymentStatus = "paid";
            tell("checkout.session.async_payment_succeeded", Json(session, expand: false));
        }
    }

    public void Expire(string id)
    {
        lock (gate)
        {
            var session = Find(id);
            if (session.Status != "open") return;
            session.Status = "expired";
            tell("checkout.session.expired", Json(session, expand: false));
        }
    }

    /// <summary>needs_response, under_review, won or lost.</summary>
    public void Dispute(string id, string status)
    {
        lock (gate)
        {
            var session = Find(id);
            var isNew = session.Dispute.Length == 0;
            session.Dispute = status;
            tell(isNew ? "charge.dispute.created" : status is "won" or "lost" ? "charge.dispute.closed"
                : "charge.dispute.updated", DisputeJson(session));
        }
    }

    long Now => time.GetUtcNow().ToUnixTimeSeconds();
}
