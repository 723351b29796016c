using Capsul.Foundation;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Features.Payments.Providers;
using Capsul.Hub.Web;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>
/// What comes of a charge. One that was declined makes a pause, longer each time; after some in a row it is turned off.
/// The person is told each time, and never charged in a loop.
/// </summary>
public static class EndCharge
{
    static readonly TimeSpan[] Pauses = [TimeSpan.FromHours(6), TimeSpan.FromDays(1), TimeSpan.FromDays(3)];

    const string Actor = "auto top-up";

    /// <param name="declines">In a row, at least one.</param>
    /// <returns>Null: there is no other try.</returns>
    public static TimeSpan? PauseAfter(int declines) => declines <= Pauses.Length ? Pauses[declines - 1] : null;

    /// <summary>Why what a provider says of a charge is not believed; empty: it may be.</summary>
    public static string DoubtOf(ClaimedPaymentRow row, PaymentState state, string currency)
    {
        if (!row.Automatic) return "";
        if (state.Card is { } card && (card.Key != row.Key
            || row.Customer is { } customer && card.Customer != customer))
            return "The provider's answer is about another charge, and nothing was credited.";
        if (state.Received > 0 && state.Currency.Equals(currency, StringComparison.OrdinalIgnoreCase)
            && state.Received != row.Amount)
            return $"The provider says that {Show.Dollars(state.Received)} was charged instead of "
                + $"{Show.Dollars(row.Amount)}, and nothing was credited.";
        return "";
    }

    /// <summary>
    /// In the caller's transaction, which has locked the account and the payment, and has credited nothing yet.
    /// </summary>
    /// <param name="before">Status of the payment until now.</param>
    /// <param name="problem">What an operator has to know of it; else empty.</param>
    public static async Task InAsync(NpgsqlTransaction transaction, ClaimedPaymentRow row, string before,
        PaymentState state, string problem, Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var (email, now) = (row.Email, time.GetUtcNow().UtcDateTime);
        // Before the totals, which are locked when something is credited.
        await transaction.FindAsync<string>(AutoTopUpSql.Lock, new { email }, cancel);
        if (problem.Length > 0)
            await TurnOffAutoTopUp.InAsync(transaction, email, OffReason.Doubtful, Actor, problem, now, cancel);
        else if (state.Status == PaymentStatus.Paid && before != PaymentStatus.Paid)
            await transaction.ExecuteAsync(AutoTopUpSql.StartOver, new { email }, cancel);
        else if (state.Status == PaymentStatus.Failed && before != PaymentStatus.Failed)
            await DeclinedAsync(transaction, row, state.Card?.Decline ?? "", settings, time, cancel);
    }

    /// <param name="decline">The provider's code, or refused or no_answer.</param>
    public static async Task DeclinedAsync(NpgsqlTransaction transaction, ClaimedPaymentRow row, string decline,
        Settings settings, TimeProvider time, CancellationToken cancel)
    {
        var (email, now) = (row.Email, time.GetUtcNow().UtcDateTime);
        await transaction.ExecuteAsync(ProviderPaymentSql.SetDecline, new { id = row.Id, decline }, cancel);
        await transaction.FindAsync<string>(AutoTopUpSql.Lock, new { email }, cancel);
        // It is gone when the account was closed meanwhile.
        if (await transaction.FindAsync<AutoTopUpRow>(AutoTopUpSql.Find, new { email, now }, cancel) is not { } set)
            return;
        var pausedUntil = now + PauseAfter(set.Declines + 1);
        await transaction.ExecuteAsync(AutoTopUpSql.RecordDecline, new { email, decline, pausedUntil }, cancel);
        if (!set.Enabled) return;
        if (pausedUntil is null)
            await TurnOffAutoTopUp.InAsync(transaction, email, OffReason.Declined, Actor, decline, now, cancel);
        await new Outbox(time).EnqueueAsync(
            transaction, AutoTopUpMail.Write(email, row.Amount, decline, pausedUntil, settings), cancel);
    }
}
