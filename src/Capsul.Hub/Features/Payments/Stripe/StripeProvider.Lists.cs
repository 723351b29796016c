using System.Globalization;
using System.Text.Json;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;

namespace Capsul.Hub.Features.Payments.Stripe;

/// <summary>
/// All that there is at Stripe since some time, page by page. (https://docs.stripe.com/api/pagination)
/// </summary>
public sealed partial class StripeProvider
{
    /// <summary>The most that Stripe lists at a time.</summary>
    const int PageSize = 100;

    public async Task<Outcome<IReadOnlyList<FoundPayment>>> ListAsync(DateTime since, CancellationToken cancel)
    {
        if ((await ListAsync($"v1/checkout/sessions?created[gte]={Seconds(since)}", cancel))
            .Refused(out var problem, out var sessions)
            || (await ListAsync($"v1/payment_intents?created[gte]={Seconds(since)}", cancel))
            .Refused(out problem, out var intents))
            return problem;
        // The other ones belong to the sessions.
        var charges = intents.Select(StripeReading.FoundCharge).Where(c => PaymentKey.IsCharge(c.Key));
        return sessions.ConvertAll(StripeReading.Found).Concat(charges).ToList();
    }

    /// <summary>What payouts are made of is only known of those that Stripe makes by itself.</summary>
    public async Task<Outcome<IReadOnlyList<FoundPayout>>> ListPayoutsAsync(DateTime since, CancellationToken cancel)
    {
        if ((await ListAsync($"v1/payouts?created[gte]={Seconds(since)}", cancel))
            .Refused(out var problem, out var payouts))
            return problem;
        var found = new List<FoundPayout>();
        foreach (var payout in payouts)
        {
            List<JsonElement> movements = [];
            if (payout.IsTrue("automatic") && (await ListAsync("v1/balance_transactions?expand[]=data.source&payout="
                + Uri.EscapeDataString(payout.Text("id") ?? ""), cancel)).Refused(out problem, out movements!))
                return problem;
            found.Add(StripeReading.Payout(payout, movements));
        }
        return found;
    }

    static string Seconds(DateTime since) =>
        new DateTimeOffset(since).ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture);

    async Task<Outcome<List<JsonElement>>> ListAsync(string path, CancellationToken cancel)
    {
        var (all, after) = (new List<JsonElement>(), "");
        while (true)
        {
            var answer = await stripe.GetAsync(
                string.Create(CultureInfo.InvariantCulture, $"{path}&limit={PageSize}{after}"), cancel);
            if (answer.Refused(out var problem, out var list)) return problem;
            var before = all.Count;
            all.AddRange(list.List("data"));
            if (all.Count == before || !list.IsTrue("has_more")) return all;
            after = "&starting_after=" + Uri.EscapeDataString(all[^1].Text("id") ?? "");
        }
    }
}
