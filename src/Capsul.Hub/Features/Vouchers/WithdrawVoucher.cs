using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vouchers;

/// <summary>A voucher that nobody has redeemed is worth nothing from now on.</summary>
public static class WithdrawVoucher
{
    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(VoucherRow? voucher) => voucher switch
    {
        null => new(ProblemKind.NotFound, "There is no such voucher."),
        { Redeemed: not null } => new(ProblemKind.Conflict,
            $"This voucher was redeemed. To take the money back, invalidate payment {voucher.Payment}."),
        { Withdrawn: not null } => new(ProblemKind.Conflict, "This voucher was withdrawn already."),
        _ => null,
    };

    /// <returns>What it was worth.</returns>
    public static Task<Outcome<decimal>> RunAsync(
        Db db, string actor, long id, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<decimal>(async transaction =>
        {
            await transaction.FindAsync<long?>(VoucherSql.LockById, new { id }, cancel);
            var voucher = await transaction.FindAsync<VoucherRow>(VoucherSql.Find, new { id }, cancel);
            if (Decide(voucher) is { } problem) return problem;
            await transaction.ExecuteAsync(
                VoucherSql.Withdraw, new { id, now = time.GetUtcNow().UtcDateTime }, cancel);
            await transaction.AuditAsync(actor, "withdraw_voucher",
                string.Create(CultureInfo.InvariantCulture, $"voucher {id}"), "", cancel);
            return voucher!.Amount;
        }, cancel);
}
