using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Ledger;
using Capsul.Hub.Features.Operators;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Closings;

/// <summary>
/// An operator has paid what a closed account had left, and says how. The ledger owes it until then; afterwards the
/// payment that it came from counts no longer, or only with its rest.
/// </summary>
public static class PayOut
{
    /// <summary>By the way it came, whatever that was.</summary>
    public const string SameWay = "same";

    static readonly string[] Ways = [SameWay, "cash", "bank"];

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(ClosingPayoutRow? payout, string? by) =>
        payout is null ? new(ProblemKind.NotFound, "There is no such payment to make.")
        : payout.State == "sent" ? new(ProblemKind.Conflict, "The provider is sending this back.")
        : payout.State != "open" ? new(ProblemKind.Conflict, "This has been paid already, or is not owed any more.")
        : !Ways.Contains(by, StringComparer.Ordinal)
            ? new(ProblemKind.Invalid, "Say how it was paid: cash, bank, or same (the way it came).") { Field = "By" }
        : payout.Counts < payout.Amount ? new(ProblemKind.Conflict,
            $"Payment {payout.Payment} does not count any more, so it has gone back already. Pay nothing for it.")
        : null;

    /// <returns>The amount.</returns>
    public static Task<Outcome<decimal>> RunAsync(Db db, string actor, long id, string? by, string? reason,
        TimeProvider time, CancellationToken cancel) => db.DecideAsync<decimal>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var seen = await transaction.FindAsync<ClosingPayoutRow>(ClosingPayoutSql.Find, new { id }, cancel);
            await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { seen?.Email ?? "" } }, cancel);
            await transaction.FindAsync<long?>(ClosingPayoutSql.LockProviderPayment, new { id }, cancel);
            await transaction.FindAsync<string>(ClosingPayoutSql.Lock, new { id }, cancel);
            var payout = await transaction.FindAsync<ClosingPayoutRow>(ClosingPayoutSql.Find, new { id }, cancel);
            if (Decide(payout, by) is { } problem) return problem;
            if (Reason.Parse(reason).Refused(out var unclear, out var why)) return unclear;
            // Before the payment counts no longer, which voids what is open.
            await transaction.ExecuteAsync(ClosingPayoutSql.SetDone, new { id, now, actor, note = why }, cancel);
            if (!await ReturnPayment.InAsync(
                transaction, payout!.Payment, payout.Amount, $"paid by hand: {why}", actor, now, cancel))
                throw new InvalidOperationException($"payment {payout.Payment} was locked, and counted");
            if (by != SameWay && by != payout.Method)
                await transaction.ExecuteAsync(LedgerSql.PostOtherWay, new
                {
                    payout.Method,
                    by,
                    payout.Amount,
                    now,
                    note = $"payment {payout.Payment} paid back",
                }, cancel);
            await transaction.AuditAsync(actor, "pay_out", $"payment {payout.Payment}",
                string.Create(CultureInfo.InvariantCulture, $"payout {id}, {payout.Amount} by {by}; {why}"), cancel);
            return payout.Amount;
        }, cancel);
}
