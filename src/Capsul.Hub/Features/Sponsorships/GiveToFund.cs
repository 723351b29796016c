using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Payments;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>
/// A person gives a part of their balance to the solidarity fund. Only what they have paid themselves can be given, and
/// nothing that they owe.
/// </summary>
public static class GiveToFund
{
    /// <param name="Amount">As typed, such as 10 or 7.50.</param>
    /// <param name="Confirmed">That it does not come back.</param>
    public sealed record Input(string? Amount, bool Confirmed);

    /// <param name="Exists">There is such an account.</param>
    public sealed record Facts(string Email, bool Exists, bool IsClosing, OwnMoneyRow Money);

    /// <summary>
    /// The most that can be given, in whole units. What came by vouchers or from the fund counts as used first, as when
    /// an account is closed, and what is left of it is not the person's to give.
    /// </summary>
    public static decimal Most(OwnMoneyRow money, int decimals) => Math.Max(0, TypedAmount.Floor(
        money.Paid - money.Used - Math.Max(0, money.Granted - money.Used), decimals));

    public static Outcome<decimal> Decide(Facts facts, Input input, int decimals)
    {
        if (!facts.Exists)
            return new Problem(ProblemKind.NotFound, $"There is no account {facts.Email}.") { Field = "Email" };
        if (facts.IsClosing)
            return new Problem(ProblemKind.Conflict,
                "This account is being closed, and what is left of it goes where that says.");
        if (TypedAmount.Parse(input.Amount, decimals).Refused(out var problem, out var amount)) return problem;
        var most = Most(facts.Money, decimals);
        if (amount > most)
            return TypedAmount.Wrong(most == 0 ? "There is nothing that can be given now."
                : $"At most {Show.Dollars(most)} can be given now.");
        return input.Confirmed ? amount : new Problem(ProblemKind.Invalid,
            "Confirm it: what is given does not come back.")
        { Field = "Confirmed" };
    }

    /// <param name="actor">The person, or who does it for them.</param>
    /// <param name="key">Under which it is done once (<see cref="FundKey"/>).</param>
    /// <param name="why">What an operator says about it; may be empty.</param>
    /// <returns>The payment, which has a minus.</returns>
    public static Task<Outcome<int>> RunAsync(Db db, Settings settings, string actor, string? account, Input input,
        string? key, string why, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            var (now, decimals) = (time.GetUtcNow().UtcDateTime, settings.Currency.Decimals);
            if (FundKey.Check(key) is { } incomplete) return incomplete;
            var exists = await LockAsync(transaction, email, cancel);
            if (await transaction.FindAsync<FundMovementRow>(FundSql.FindMovement, new { key }, cancel) is { } done)
                return TypedAmount.Parse(input.Amount, decimals).Refused(out var typo, out var again) ? typo
                    : FundKey.Repeat(done, email, -again);
            var facts = new Facts(email, exists, await FundFacts.IsClosingAsync(transaction, email, cancel),
                await MoneyAsync(transaction, email, now, cancel));
            if (Decide(facts, input, decimals).Refused(out var problem, out var amount)) return problem;
            var payment = await RecordPayment.InAsync(transaction, email, -amount, "solidarity",
                "given to the solidarity fund", actor, now, cancel);
            await transaction.ExecuteAsync(FundSql.AddMovement, new { payment, key }, cancel);
            await transaction.AuditAsync(actor, "give_to_fund", string.Create(CultureInfo.InvariantCulture,
                $"payment {payment}"), string.Create(CultureInfo.InvariantCulture, $"{amount}; {why}"), cancel);
            return payment;
        }, cancel);

    /// <summary>The account's row and its totals, so that nothing else spends what is given.</summary>
    static async Task<bool> LockAsync(NpgsqlTransaction transaction, string email, CancellationToken cancel)
    {
        var found = await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
        await transaction.FindAsync<string>(DunningSql.LockTotals, new { email }, cancel);
        return found.Count > 0;
    }

    static async Task<OwnMoneyRow> MoneyAsync(
        NpgsqlTransaction transaction, string email, DateTime now, CancellationToken cancel)
    {
        var balance = await transaction.AskAsync<BalanceRow>(BillingSql.Balance, new { email, now }, cancel);
        var granted = await transaction.AskAsync<decimal>(FundSql.Granted, new { email }, cancel);
        return new OwnMoneyRow(balance.Paid, balance.Used, granted);
    }

    /// <summary>The most that a person could give now; nothing is locked.</summary>
    public static Task<decimal> MostNowAsync(
        Db db, string email, int decimals, TimeProvider time, CancellationToken cancel) =>
        db.InTransactionAsync(async transaction => Most(
            await MoneyAsync(transaction, email, time.GetUtcNow().UtcDateTime, cancel), decimals), cancel);
}
