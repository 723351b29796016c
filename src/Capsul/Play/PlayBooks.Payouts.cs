using System.Globalization;
using System.Text.Json.Nodes;

namespace Capsul.Play;

/// <summary>What the play provider has sent to the bank, in cents.</summary>
/// <param name="Movements">Kind, net, the checkout that it belongs to if there is one, and what it is.</param>
public sealed record PlayPayout(string Id, long Created, IReadOnlyList<PlayMovement> Movements)
{
    public string Status { get; set; } = "paid";

    public long Amount => Movements.Sum(m => m.Net);
}

public sealed record PlayMovement(string Id, string Kind, long Net, PlaySession? Session);

public sealed partial class PlayBooks
{
    readonly List<PlayPayout> payouts = [];
    readonly HashSet<string> paidOut = new(StringComparer.Ordinal);

    /// <summary>Sends all that is there to the bank.</summary>
    /// <param name="fee">What the provider keeps besides, and not for a payment.</param>
    public PlayPayout PayOut(long fee = 0)
    {
        lock (gate)
        {
            var id = string.Create(CultureInfo.InvariantCulture, $"po_play{++made:D8}");
            var movements = sessions.Values.Where(s => s.IsPaid).SelectMany(MovementsOf).ToList();
            if (fee != 0) movements.Add(new PlayMovement("txn_fee_" + id, "stripe_fee", -fee, null));
            var payout = new PlayPayout(id, Now, [.. movements.Where(m => paidOut.Add(m.Id))]);
            payouts.Add(payout);
            return payout;
        }
    }

    static IEnumerable<PlayMovement> MovementsOf(PlaySession session) =>
    [
        new("txn_" + session.Charge, "charge", session.Amount - session.Fee, session),
        .. session.Refunds.Select(r => new PlayMovement("txn_" + r.Id, "refund", -r.Amount, session)),
        .. session.Refunds.Where(r => !r.Counts)
            .Select(r => new PlayMovement("txn_f" + r.Id, "refund_failure", r.Amount, session)),
        .. session.Dispute.Length == 0 ? Array.Empty<PlayMovement>()
            : [new("txn_dp_" + session.Id, "adjustment", -session.Amount - PlaySession.DisputeFee, session)],
    ];

    public JsonObject ListPayouts(long since)
    {
        lock (gate)
            return ListJson("/v1/payouts", payouts.Where(p => p.Created >= since).Reverse().Select(p => new JsonObject
            {
                ["id"] = p.Id,
                ["object"] = "payout",
                ["amount"] = p.Amount,
                ["arrival_date"] = p.Created,
                ["automatic"] = true,
                ["created"] = p.Created,
                ["currency"] = "usd",
                ["status"] = p.Status,
            }));
    }

    /// <summary>With their sources.</summary>
    public JsonObject ListMovements(string payout)
    {
        lock (gate)
        {
            var of = payouts.Find(p => p.Id == payout) ?? throw PlayError.Missing("payout", payout);
            return ListJson("/v1/balance_transactions",
                of.Movements.Append(new PlayMovement("txn_" + of.Id, "payout", -of.Amount, null)).Select(MovementJson));
        }
    }

    static JsonObject MovementJson(PlayMovement movement) => new()
    {
        ["id"] = movement.Id,
        ["object"] = "balance_transaction",
        ["currency"] = "usd",
        ["net"] = movement.Net,
        ["source"] = movement.Session is not { } session ? null : new JsonObject
        {
            ["id"] = movement.Id[4..],
            ["object"] = movement.Kind,
            ["metadata"] = movement.Kind == "charge" ? MetadataOf(session) : new JsonObject(),
            ["payment_intent"] = session.Intent,
        },
        ["type"] = movement.Kind,
    };
}
