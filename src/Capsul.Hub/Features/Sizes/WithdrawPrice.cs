using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Sizes;

/// <summary>Withdraws a price that is not in force yet. Who was told of it is told that it does not come.</summary>
public static class WithdrawPrice
{
    /// <summary>The clocks of two Hubs agree at least this well: the other one must not have it in force.</summary>
    static readonly TimeSpan Least = TimeSpan.FromMinutes(1);

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(PriceRow? price, DateTime now) =>
        price is null ? new(ProblemKind.NotFound, "There is no such price.")
        : price.Withdrawn is not null ? new(ProblemKind.Conflict, "This price is withdrawn already.")
        : price.ActiveFrom < now + Least ? new(ProblemKind.Conflict,
            "This price is in force, and stays. Set another one from now on.")
        : null;

    /// <returns>What was done, as a sentence.</returns>
    public static Task<Outcome<string>> RunAsync(
        Db db, string actor, long id, Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            var price = await transaction.FindAsync<PriceRow>(PriceSql.Find, new { id }, cancel);
            if (Decide(price, now) is { } problem) return problem;
            var (size, from) = (price!.Size, price.ActiveFrom);
            var facts = await transaction.AskAsync<PriceFactsRow>(PriceSql.Facts, new { size, from }, cancel);
            await transaction.ExecuteAsync(PriceSql.Withdraw, new { id, now }, cancel);
            IReadOnlyList<SizeCustomerRow> told = facts.Before < price.DollarsPerMonth
                ? await transaction.ListAsync<SizeCustomerRow>(PriceSql.Customers, new { size }, cancel) : [];
            await new Outbox(time).EnqueueManyAsync(
                transaction, [.. told.Select(c => PriceMail.Withdrawal(c, price, settings))], cancel);
            await transaction.AuditAsync(actor, "withdraw_price", size, string.Create(CultureInfo.InvariantCulture,
                $"{price.DollarsPerMonth} from {from:yyyy-MM-dd HH:mm:ss}, {told.Count} told"), cancel);
            return $"Withdrawn: {size} will not cost {Show.Dollars(price.DollarsPerMonth)} a month from "
                + $"{Show.Time(from)}. "
                + (told.Count == 0 ? "Nobody is emailed." : $"{Show.Count(told.Count, "account is", "accounts are")} "
                    + "emailed.");
        }, cancel);
}
