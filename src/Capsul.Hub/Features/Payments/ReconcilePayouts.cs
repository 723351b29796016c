using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// Compares what a provider has sent to the bank with the ledger, movement by movement, and books what is missing: then
/// the ledger's <c>provider_clearing</c> is what the provider still has.
/// </summary>
public static class ReconcilePayouts
{
    /// <param name="Amount">What is booked at the bank.</param>
    /// <param name="Fees">
    /// What the provider kept of it, and not for a payment. What it holds back for a while is neither: it stays with
    /// the provider.
    /// </param>
    public sealed record Booking(decimal Amount, decimal Fees);

    /// <param name="What">What is wrong, as the end of a sentence about it.</param>
    /// <param name="Booking">What puts it right; null: a person has to look.</param>
    /// <param name="CameBack">The bank did not take it, and the ledger says that it did.</param>
    public sealed record Difference(FoundPayout Found, string What, Booking? Booking = null, bool CameBack = false);

    /// <param name="Sent">Our part of what has arrived at the bank.</param>
    public sealed record Report(int Compared, IReadOnlyList<Difference> Differences, int Booked, ComparedSums Sent);

    /// <param name="ours">Charges of payments here.</param>
    public static Difference? Compare(FoundPayout found, PayoutRow? known, IReadOnlySet<string> ours, string currency)
    {
        if (known is not null)
            return found.Status == PayoutStatus.Failed && !known.Returned
                ? new(found, "has come back, and the ledger has it at the bank", CameBack: true) : null;
        if (found.Status != PayoutStatus.Paid) return null;
        if (found.Currency != currency) return new(found, $"is not in {currency}");
        if (found.Movements.Count == 0)
            return new(found, "is not in the ledger", new Booking(found.Amount, 0));
        if (found.Movements.Sum(m => m.Net) is var sum && sum != found.Amount)
            return new(found, string.Create(CultureInfo.InvariantCulture, $"is made of movements that sum to {sum}"));
        if (found.Movements.Any(m => PaymentKey.IsOurs(m.Key) && !IsOurs(m, ours)))
            return new(found, "contains a payment that the database does not have, or has not asked about yet");
        var others = Others(found, ours);
        return new(found, "is not in the ledger" + Say(others), new Booking(found.Amount - others.Sum(m => m.Net),
            -found.Movements.Where(m => m is { Charge: null, Nature: MovementNature.Fee }).Sum(m => m.Net)));
    }

    static bool IsOurs(PayoutMovement movement, IReadOnlySet<string> ours) =>
        movement.Charge is { } charge && ours.Contains(charge);

    /// <summary>What is in a payout and not booked, because it belongs to no payment here.</summary>
    static List<PayoutMovement> Others(FoundPayout found, IReadOnlySet<string> ours) => [.. found.Movements.Where(m =>
        !IsOurs(m, ours) && (m.Charge is not null || m.Nature == MovementNature.Other))];

    /// <summary>What is not booked, by its kinds.</summary>
    static string Say(IReadOnlyList<PayoutMovement> others) => others.Count == 0 ? ""
        : string.Create(CultureInfo.InvariantCulture, $"; {others.Sum(m => m.Net)} of it belongs to no payment here (")
            + string.Join(", ", others.GroupBy(m => m.Kind, StringComparer.Ordinal)
                .OrderBy(g => g.Key, StringComparer.Ordinal)
                .Select(g => string.Create(CultureInfo.InvariantCulture, $"{g.Key} {g.Sum(m => m.Net)}"))) + ")";

    /// <param name="since">Payouts that were made before are left out.</param>
    /// <param name="book">Put right what can be; otherwise nothing is changed.</param>
    public static async Task<Outcome<Report>> RunAsync(Db db, Settings settings, IPaymentProvider provider,
        DateTime since, bool book, string actor, TimeProvider time, CancellationToken cancel)
    {
        if ((await provider.ListPayoutsAsync(since, cancel)).Refused(out var problem, out var all)) return problem;
        var known = (await db.ListAsync<PayoutRow>(PayoutSql.Known,
            new { provider = provider.Name, references = all.Select(p => p.Reference).ToArray() }, cancel))
            .ToDictionary(k => k.Reference, StringComparer.Ordinal);
        var (differences, booked, there) = (new List<Difference>(), 0, 0m);
        foreach (var found in all)
        {
            var ours = (await db.ListAsync<string>(PayoutSql.OurCharges, new
            {
                provider = provider.Name,
                charges = found.Movements.Select(m => m.Charge).OfType<string>().Distinct().ToArray(),
            }, cancel)).ToHashSet(StringComparer.Ordinal);
            if (found.Status == PayoutStatus.Paid && found.Currency == settings.Currency.Code)
                there += found.Amount - Others(found, ours).Sum(m => m.Net);
            if (Compare(found, known.GetValueOrDefault(found.Reference), ours, settings.Currency.Code)
                is not { } difference) continue;
            differences.Add(difference);
            if (book && await BookAsync(
                db, provider.Name, difference, settings.Currency.Decimals, actor, time, cancel)) booked++;
        }
        var here = (await db.ListAsync<PayoutRow>(PayoutSql.Known,
            new { provider = provider.Name, references = all.Select(p => p.Reference).ToArray() }, cancel))
            .Where(k => !k.Returned).Sum(k => k.Amount);
        return new Report(all.Count, differences, booked, new ComparedSums(there, here));
    }

    /// <summary>
    /// In whole units: of a currency with three decimal places, which is kept with two here, fees may be finer.
    /// </summary>
    static Task<bool> BookAsync(Db db, string provider, Difference difference, int decimals, string actor,
        TimeProvider time, CancellationToken cancel) => db.InTransactionAsync(async transaction =>
    {
        var (found, now) = (difference.Found, time.GetUtcNow().UtcDateTime);
        var changed = difference switch
        {
            { CameBack: true } =>
                await transaction.ExecuteAsync(PayoutSql.Return, new { provider, found.Reference }, cancel),
            { Booking: { } booking } => await transaction.ExecuteAsync(PayoutSql.Add, new
            {
                provider,
                found.Reference,
                arrived = found.Arrives,
                amount = decimal.Round(booking.Amount, decimals),
                fees = decimal.Round(booking.Fees, decimals),
                now,
                actor,
            }, cancel),
            _ => 0,
        };
        if (changed == 0) return false;
        await transaction.AuditAsync(actor, difference.CameBack ? "return_payout" : "book_payout",
            $"{provider} payout {found.Reference}",
            found.Amount.ToString(CultureInfo.InvariantCulture), cancel);
        return true;
    }, cancel);
}
