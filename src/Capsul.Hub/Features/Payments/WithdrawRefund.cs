using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Payments;

/// <summary>
/// An operator wants a refund to be claimed no longer. The active Hub takes its page at the provider away as soon as no
/// claim waits there; what was not claimed counts for the account again.
/// </summary>
public static class WithdrawRefund
{
    public static Problem? Decide(FoundRefundRow? refund) => refund switch
    {
        null => new Problem(ProblemKind.NotFound, "There is no such refund."),
        { Withdrawn: not null } => new Problem(ProblemKind.Conflict, "This refund is being withdrawn already."),
        { Status: "open" } => new Problem(ProblemKind.Conflict,
            "The provider has not answered yet whether it sends this refund. Try again when it has."),
        { Status: "offered" } => null,
        { Status: "pending" } => new Problem(ProblemKind.Conflict,
            "The provider is sending this refund already. If it fails, the money counts again."),
        _ => new Problem(ProblemKind.Conflict, "This refund is over: nothing of it can be claimed any more."),
    };

    /// <summary>Returns the number of the payment.</summary>
    /// <param name="id">Of the refund.</param>
    public static Task<Outcome<long>> RunAsync(
        Db db, string actor, long id, string? reason, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            if (await transaction.FindAsync<FoundRefundRow>(ProviderRefundSql.Find, new { id }, cancel) is { } found)
            {
                await transaction.FindAsync<string>(
                    ProviderPaymentSql.LockAccount, new { id = found.Payment }, cancel);
                await transaction.FindAsync<long?>(ProviderPaymentSql.Lock, new { id = found.Payment }, cancel);
            }
            var refund = await transaction.FindAsync<FoundRefundRow>(ProviderRefundSql.Find, new { id }, cancel);
            if (Decide(refund) is { } problem) return problem;
            var (payment, now) = (refund!.Payment, time.GetUtcNow().UtcDateTime);
            await transaction.ExecuteAsync(ProviderRefundSql.Withdraw, new { id, now }, cancel);
            await transaction.ExecuteAsync(ProviderPaymentSql.AskNow, new { id = payment, now }, cancel);
            await transaction.AuditAsync(actor, "withdraw_refund", $"provider payment {payment}",
                string.Create(CultureInfo.InvariantCulture, $"refund {id}; {why}"), cancel);
            return payment;
        }, cancel);
}
