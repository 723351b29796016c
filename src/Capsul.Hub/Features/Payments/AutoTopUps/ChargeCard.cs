using System.Globalization;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Storage;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Payments.AutoTopUps;

/// <summary>
/// Writes down that a card is charged, if its account is below the threshold. The provider is asked to do it
/// afterwards, by what asks about all payments.
/// </summary>
public static class ChargeCard
{
    /// <summary>
    /// An account that is far below its threshold, and one whose payment does not arrive on its balance, are not
    /// charged again and again within minutes.
    /// </summary>
    public static readonly TimeSpan Apart = TimeSpan.FromHours(1);

    /// <summary>Whoever has just begun to pay by hand is given that long to do it.</summary>
    public static readonly TimeSpan ByHand = TimeSpan.FromMinutes(15);

    const string Actor = "auto top-up";

    public static bool Decide(ChargeFactsRow? facts, DateTime now) => facts is
    {
        Enabled: true,
        Card: not null,
        IsOpen: false,
        IsClosing: false,
        IsPaused: false,
        BegunByHand: false,
    } && facts.Paid - facts.Used < facts.Threshold
        && facts.Charged + facts.Amount <= facts.Cap
        && (facts.PausedUntil is not { } until || until <= now)
        && (facts.LastCharge is not { } last || last + Apart <= now);

    /// <returns>The number of the payment; null: nothing is to be charged.</returns>
    public static async Task<long?> InAsync(
        NpgsqlTransaction transaction, string email, DateTime now, CancellationToken cancel)
    {
        await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { email } }, cancel);
        await transaction.FindAsync<string>(AutoTopUpSql.Lock, new { email }, cancel);
        // A payment by hand is there before, and counts, or waits.
        await transaction.FindAsync<string>(DunningSql.LockTotals, new { email }, cancel);
        var facts = await transaction.FindAsync<ChargeFactsRow>(
            AutoTopUpSql.Facts, new { email, now, begunSince = now - ByHand }, cancel);
        if (!Decide(facts, now)) return null;
        var id = await transaction.AskAsync<long>(ProviderPaymentSql.AddCharge, new
        {
            facts!.Provider,
            email,
            facts.Amount,
            key = PaymentKey.MakeForCharge(),
            now,
            facts.Card,
        }, cancel);
        await transaction.AuditAsync(Actor, "charge_card", $"provider payment {id}", string.Create(
            CultureInfo.InvariantCulture, $"{facts.Amount} of {email}, {facts.Charged} of {facts.Cap} before"), cancel);
        return id;
    }
}
