using System.Globalization;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.BtcPay;

/// <summary>
/// Money that goes back by BTCPay Server: only whoever paid knows where to, so there is a pull payment, with a page on
/// which they claim it, all at once or in parts. A claim is a payout, which somebody at the server approves and pays.
/// What was paid is the state of the refund; a pull payment that has expired, and of which nothing moves, is over.
/// </summary>
/// <remarks>
/// The API has no idempotency keys, so a pull payment with the name that our key makes is looked for first. If there
/// are two after all, the page of the other one is shown to nobody, so nobody can claim it. The API does not show the
/// payouts of an archived pull payment: so what was paid is written down before we archive one, and one that somebody
/// else has archived ends with what was seen last, and a word to the operator.
/// (https://docs.btcpayserver.org/API/Greenfield/v1/#tag/Pull-payments-(Management))
/// </remarks>
sealed class BtcPayRefunds(BtcPayClient server, string store)
{
    /// <summary>The server takes no name that is longer than 50.</summary>
    const int KeyChars = 32;

    const string NamePrefix = "Refund ", AboutPrefix = "For your payment ";

    string All => $"api/v1/stores/{Uri.EscapeDataString(store)}/pull-payments";

    static string One(string reference) => $"api/v1/pull-payments/{Uri.EscapeDataString(reference)}";

    static string NameOf(string key) => NamePrefix + key[^Math.Min(key.Length, KeyChars)..];

    /// <summary>Refunds of ours: their names have our keys, and their descriptions the invoices.</summary>
    public async Task<Outcome<IReadOnlyList<FoundRefund>>> ListAsync(DateTime since, CancellationToken cancel)
    {
        var answer = await server.SendAsync(HttpMethod.Get, All + "?includeArchived=true", null, cancel);
        if (answer.Refused(out var problem, out var list)) return problem;
        var found = list.ValueKind == JsonValueKind.Array
            ? list.EnumerateArray().Select(Found).OfType<FoundRefund>() : [];
        return found.Where(f => f.Created >= since).ToList();
    }

    static FoundRefund? Found(JsonElement pull) => pull.Text("name") is { } name
        && name.StartsWith(NamePrefix, StringComparison.Ordinal) && name.Length == NamePrefix.Length + KeyChars
        && pull.Text("description") is { } about && about.StartsWith(AboutPrefix, StringComparison.Ordinal)
            ? new FoundRefund(RefundPayment.KeyPrefix + name[NamePrefix.Length..], pull.Text("id") ?? "",
                about[AboutPrefix.Length..], BtcPayReading.Number(pull, "amount"),
                DateTimeOffset.FromUnixTimeSeconds(pull.Whole("startsAt") ?? 0).UtcDateTime)
            : null;

    public Task<Outcome<RefundState>> AskAsync(RefundRequest request, CancellationToken cancel) =>
        request.Reference is { } reference ? AskAsync(reference, request, cancel) : OfferAsync(request, cancel);

    async Task<Outcome<RefundState>> OfferAsync(RefundRequest request, CancellationToken cancel)
    {
        var name = NameOf(request.Key);
        var found = await server.SendAsync(HttpMethod.Get, All + "?includeArchived=true", null, cancel);
        if (found.Refused(out var unknown, out var list)) return Unknown(unknown);
        if (list.ValueKind == JsonValueKind.Array)
            foreach (var made in list.EnumerateArray())
                if (made.Text("name") == name) return Offered(made);
        var answer = await server.SendAsync(HttpMethod.Post, All, new
        {
            name,
            description = AboutPrefix + request.Charge,
            amount = request.Amount.ToString(CultureInfo.InvariantCulture),
            currency = request.Currency,
            expiresAt = new DateTimeOffset(request.Ends).ToUnixTimeSeconds(),
            autoApproveClaims = false,
        }, cancel);
        return answer.Refused(out var problem, out var pull) ? problem : Offered(pull);
    }

    static Outcome<RefundState> Offered(JsonElement pull) => pull.Text("id") is { Length: > 0 } id
        && pull.Text("viewLink") is { } link && Uri.TryCreate(link, UriKind.Absolute, out var uri)
        && uri.Scheme is "https" or "http"
            ? new RefundState(id, link, 0, 0, 0, IsFinal: false, "")
            : new Problem(ProblemKind.Unavailable, "The answer of BTCPay Server has no pull payment.");

    async Task<Outcome<RefundState>> AskAsync(string reference, RefundRequest request, CancellationToken cancel)
    {
        // In this order: if it is not archived afterwards, its payouts were all there.
        var payouts = await server.SendAsync(HttpMethod.Get, One(reference) + "/payouts", null, cancel);
        if (payouts.Refused(out var problem, out var list)) return Unknown(problem);
        var answer = await server.SendAsync(HttpMethod.Get, One(reference), null, cancel);
        if (answer.Refused(out problem, out var pull)) return Unknown(problem);
        if (pull.IsTrue("archived")) return Archived(reference, request);
        if (Offered(pull).Refused(out problem, out var offered)) return problem;
        var now = BtcPayReading.Payouts(offered, list);
        var rests = now.Claimed + now.Moving == 0;
        if (rests && (request.IsOver || now.Sent >= request.Amount)) return now with { Url = "", IsFinal = true };
        // What was sent is written down before the server shows it no more.
        if (!request.IsWithdrawn || !rests || now.Sent > request.Sent) return now;
        var archived = await server.SendAsync(
            HttpMethod.Delete, $"{All}/{Uri.EscapeDataString(reference)}", null, cancel);
        return archived.Refused(out problem, out _) ? Unknown(problem) : now with { Url = "", IsFinal = true };
    }

    /// <summary>What was on its way when it was seen last has surely gone.</summary>
    static RefundState Archived(string reference, RefundRequest request) => new(
        reference, "", request.Sent + request.Moving, 0, 0, IsFinal: true, request.IsWithdrawn ? ""
            : "The refund was archived at BTCPay Server, which shows no more what was paid of it: what was seen before "
                + "counts. Compare it with the payouts there.");

    /// <summary>
    /// Once there may be a pull payment, nothing means that there is none: not another server at the same address, and
    /// not a request that it does not take.
    /// </summary>
    static Problem Unknown(Problem problem) =>
        new(ProblemKind.Unavailable, problem.Message, problem.Detail);
}
