using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// Refunds that a provider knows by themselves only, and that a restored database does not have: what was claimed of
/// them would count twice, as spent and as sent back. Imported, they are asked about like any other.
/// </summary>
public static class ReconcileRefunds
{
    /// <param name="Payment">Number of the payment through the provider; null: the database does not have that.</param>
    public sealed record Difference(FoundRefund Found, long? Payment, string What);

    /// <param name="Compared">Refunds of ours at the provider.</param>
    public sealed record Report(int Compared, IReadOnlyList<Difference> Differences, int Imported);

    /// <param name="since">Refunds that were offered before are left out.</param>
    /// <param name="import">Add what is missing; otherwise nothing is changed.</param>
    public static async Task<Outcome<Report>> RunAsync(Db db, Settings settings, IPaymentProvider provider,
        DateTime since, bool import, string actor, TimeProvider time, CancellationToken cancel)
    {
        if ((await provider.ListRefundsAsync(since, cancel)).Refused(out var problem, out var all)) return problem;
        var known = (await db.ListAsync<string>(
            ProviderRefundSql.Known, new { keys = all.Select(f => f.Key).ToArray() }, cancel))
            .ToHashSet(StringComparer.Ordinal);
        var (differences, imported) = (new List<Difference>(), 0);
        foreach (var found in all.DistinctBy(f => f.Key).Where(f => !known.Contains(f.Key)))
        {
            var payment = await db.FindAsync<long?>(
                ProviderPaymentSql.OfCharge, new { provider = provider.Name, found.Charge }, cancel);
            var refusal = payment is null ? "is not in the database, and neither is its payment"
                : import ? await ImportAsync(db, settings, payment.Value, found, actor, time, cancel) : null;
            differences.Add(new Difference(
                found, payment, refusal ?? $"is not in the database, and belongs to payment {payment}"));
            if (import && refusal is null) imported++;
        }
        return new Report(all.Count, differences, imported);
    }

    /// <summary>Null: it was imported; otherwise why not.</summary>
    static async Task<string?> ImportAsync(Db db, Settings settings, long id, FoundRefund found, string actor,
        TimeProvider time, CancellationToken cancel)
    {
        var outcome = await db.DecideAsync<decimal>(async transaction =>
        {
            await transaction.FindAsync<string>(ProviderPaymentSql.LockAccount, new { id }, cancel);
            await transaction.FindAsync<long?>(ProviderPaymentSql.Lock, new { id }, cancel);
            var payment = await transaction.FindAsync<ProviderPaymentRow>(ProviderPaymentSql.Find, new { id }, cancel);
            var sending = (await transaction.ListAsync<ProviderRefundRow>(
                ProviderRefundSql.OfPayment, new { payment = id }, cancel)).Sum(r => r.Going);
            if (RefundPayment.Decide(payment, sending, found.Amount.ToString(CultureInfo.InvariantCulture),
                settings.Currency.Decimals).Refused(out var problem, out var value))
                return problem;
            await RefundPayment.InAsync(transaction, payment!, sending, value, "found at the provider", settings, actor,
                time.GetUtcNow().UtcDateTime, cancel, found.Key);
            return value;
        }, cancel);
        return outcome.Problem is null ? null
            : $"belongs to payment {id}, and cannot be imported: {outcome.Problem.Message.TrimEnd('.')}";
    }
}
