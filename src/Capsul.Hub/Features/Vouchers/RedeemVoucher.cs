using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vouchers;

/// <summary>
/// Somebody redeems a code: once, whoever else tries at the same moment. Every try counts, whatever becomes of it, so
/// that nobody looks for codes.
/// </summary>
public static class RedeemVoucher
{
    /// <summary>Tries of an account in an hour.</summary>
    public const int MaxTries = 10;

    static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    /// <summary>Also for one that is for somebody else: that it exists is nobody's business.</summary>
    static readonly Problem Unknown = Wrong("There is no such voucher. Check the code: 20 letters and digits.");

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(VoucherRow? voucher, string email, DateTime now) =>
        voucher is null || voucher.ForEmail is not "" && voucher.ForEmail != email ? Unknown
        : voucher.Redeemed is not null ? Wrong(voucher.RedeemedBy == email
            ? "You have redeemed this voucher already." : "This voucher was redeemed already.")
        : voucher.Withdrawn is not null ? Wrong("This voucher was withdrawn.")
        : voucher.Expires <= now ? Wrong("This voucher has expired.")
        : null;

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Code" };

    /// <returns>What it added.</returns>
    public static async Task<Outcome<decimal>> RunAsync(
        Db db, string email, string? code, TimeProvider time, CancellationToken cancel)
    {
        var now = time.GetUtcNow().UtcDateTime;
        // Committed by itself: a refusal takes nothing of it back.
        if ((await CountTryAsync(db, email, now, cancel)).Problem is { } tooMany) return tooMany;
        if (VoucherCode.Parse(code) is not { } parsed) return Unknown;
        return await db.DecideAsync<decimal>(async transaction =>
        {
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var id = await transaction.FindAsync<long?>(
                VoucherSql.LockByCode, new { hash = VoucherCode.Hash(parsed) }, cancel);
            var voucher = id is null ? null
                : await transaction.FindAsync<VoucherRow>(VoucherSql.Find, new { id }, cancel);
            if (Decide(voucher, email, now) is { } problem) return problem;
            var payment = await RecordPayment.InAsync(transaction, email, voucher!.Amount, "voucher",
                string.Create(CultureInfo.InvariantCulture, $"voucher {id}"), email, now, cancel);
            await transaction.ExecuteAsync(VoucherSql.Redeem, new { id, now, payment }, cancel);
            return voucher.Amount;
        }, cancel);
    }

    static Task<Outcome<long>> CountTryAsync(Db db, string email, DateTime now, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            await transaction.ExecuteAsync(VoucherSql.SweepTries, new { email, since = now - Hour }, cancel);
            var tries = await transaction.AskAsync<long>(
                VoucherSql.CountTries, new { email, since = now - Hour }, cancel);
            if (tries >= MaxTries)
                return new Problem(ProblemKind.RateLimited,
                    "You have tried many codes. Wait an hour, and check the code.")
                { Field = "Code" };
            await transaction.ExecuteAsync(VoucherSql.AddTry, new { email, now }, cancel);
            return tries + 1;
        }, cancel);
}
