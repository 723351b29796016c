using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Vouchers;

/// <summary>An operator makes vouchers. Their codes are returned once, and kept nowhere.</summary>
public static class CreateVouchers
{
    public const int MaxCount = 500, MaxNoteChars = 200;

    /// <summary>Of one; anything larger is a typo.</summary>
    const decimal Most = 10_000;

    /// <param name="Amount">As typed, such as 10 or 7.50.</param>
    /// <param name="Count">How many; empty: one.</param>
    /// <param name="Expires">The first day on which it cannot be redeemed any more, in UTC; empty: none.</param>
    /// <param name="ForEmail">The only account that may redeem it; empty: any.</param>
    public sealed record Input(string? Amount, string? Count, string? Expires, string? ForEmail, string? Note);

    public sealed record Plan(decimal Amount, int Count, DateTime? Expires, string ForEmail, string Note);

    public static Outcome<Plan> Decide(Input input, int decimals, DateTime now)
    {
        if (TypedAmount.Parse(input.Amount, decimals, Most).Refused(out var problem, out var amount)) return problem;
        var count = 1;
        if (!string.IsNullOrWhiteSpace(input.Count)
            && (!int.TryParse(input.Count.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out count)
                || count is < 1 or > MaxCount))
            return Wrong("Count", $"Enter a number from 1 to {MaxCount}.");
        DateTime? expires = null;
        if (!string.IsNullOrWhiteSpace(input.Expires))
        {
            if (!DateTime.TryParseExact(input.Expires.Trim(), "yyyy-MM-dd", CultureInfo.InvariantCulture,
                DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var day) || day <= now)
                return Wrong("Expires", "Enter a day in the future, such as 2027-01-31.");
            expires = day;
        }
        var email = "";
        if (!string.IsNullOrWhiteSpace(input.ForEmail)
            && EmailAddress.Parse(input.ForEmail).Refused(out problem, out email!))
            return problem with { Field = "ForEmail" };
        var note = string.Join(' ', (input.Note ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return note.Length > MaxNoteChars || note.Any(char.IsControl)
            ? Wrong("Note", $"A note is plain text of at most {MaxNoteChars} characters.")
            : new Plan(amount, count, expires, email, note);
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <returns>The codes, as people see them.</returns>
    public static Task<Outcome<IReadOnlyList<string>>> RunAsync(
        Db db, Settings settings, string actor, Input input, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<IReadOnlyList<string>>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            if (Decide(input, settings.Currency.Decimals, now).Refused(out var problem, out var plan)) return problem;
            var codes = Enumerable.Range(0, plan.Count).Select(_ => VoucherCode.Make()).ToList();
            await transaction.ExecuteAsync(VoucherSql.AddMany, new
            {
                hashes = codes.Select(VoucherCode.Hash).ToArray(),
                hints = codes.Select(VoucherCode.Hint).ToArray(),
                plan.Amount,
                now,
                actor,
                plan.Note,
                plan.Expires,
                plan.ForEmail,
            }, cancel);
            await transaction.AuditAsync(actor, "create_vouchers", "vouchers", string.Create(
                CultureInfo.InvariantCulture, $"{plan.Count} of {plan.Amount}; {plan.Note}"), cancel);
            return codes.ConvertAll(VoucherCode.Shown);
        }, cancel);
}
