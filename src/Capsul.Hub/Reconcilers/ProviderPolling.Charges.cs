using Capsul.Foundation;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Features.Payments.AutoTopUps;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Reconcilers;

/// <summary>Charges of saved cards: written down like payments, and made here instead of a checkout.</summary>
public sealed partial class ProviderPolling
{
    /// <summary>
    /// Whether a charge was made is asked for by its key, and it is made if not; what has become of it is asked at once
    /// afterwards. When its key is too old to be used again, it is only looked for.
    /// </summary>
    async Task ChargeAsync(long epoch, ClaimedPaymentRow row, IPaymentProvider provider, CancellationToken cancel)
    {
        if (provider is not ISavedCards cards || row.Customer is null || row.Method is null)
        {
            await FailAsync(epoch, row, new Problem(ProblemKind.Invalid,
                "The saved card is gone, and was not charged."), final: true, cancel);
            return;
        }
        var isLookup = Now - row.Created > KeyLife;
        var answer = await cards.ChargeAsync(new ChargeRequest(row.Key, row.Customer, row.Method,
            row.Email.Contains('@', StringComparison.Ordinal) ? row.Email : "", row.Amount, settings.Currency.Code,
            row.Created, isLookup), cancel);
        if (answer.Refused(out var problem, out var reference))
            await FailAsync(epoch, row, problem, final: problem.Kind != ProblemKind.Unavailable, cancel);
        else
            await RecordAsync(epoch, row with { LastEvent = 0 }, provider, new Checkout(reference, ""), [],
                new PaymentState(PaymentStatus.Pending, 0, 0, 0, "", 0, null, settings.Currency.Code), cancel);
    }

    /// <summary>No charge was made, and none will be.</summary>
    async Task EndChargeAsync(
        NpgsqlTransaction transaction, ClaimedPaymentRow row, Problem problem, CancellationToken cancel)
    {
        await transaction.FindAsync<string>(ProviderPaymentSql.LockAccount, new { id = row.Id }, cancel);
        await transaction.FindAsync<long?>(ProviderPaymentSql.Lock, new { id = row.Id }, cancel);
        await EndCharge.DeclinedAsync(transaction, row,
            problem.Kind == ProblemKind.NotFound ? "no_answer" : "refused", settings, time, cancel);
    }
}
