using System.Globalization;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Dunning;
using Capsul.Hub.Features.Payments;
using Capsul.Postgres;
using Npgsql;

namespace Capsul.Hub.Features.Sponsorships;

/// <summary>
/// Pays the next month of a sponsorship from the fund, if it is due: whole, or not at all. Which month it is is counted
/// by the movements themselves, under a unique key, so each is paid once.
/// </summary>
public static class PaySponsorship
{
    const string Actor = "fund";

    public enum Step
    {
        /// <summary>Nothing is due.</summary>
        None,

        /// <summary>A month is paid.</summary>
        Pay,

        /// <summary>The fund does not hold it: it waits.</summary>
        Wait,

        /// <summary>No month will be due any more.</summary>
        End,
    }

    /// <param name="Fund">What is in the fund.</param>
    public sealed record Facts(SponsorshipRow Sponsorship, bool IsClosing, decimal Fund);

    public static Step Decide(Facts facts, DateTime now) => facts.Sponsorship switch
    {
        { Ended: not null } => Step.None,
        { Until: { } until } s when s.NextDue >= until => Step.End,
        { } s when s.NextDue > now || facts.IsClosing => Step.None,
        { } s => s.Amount > facts.Fund ? Step.Wait : Step.Pay,
    };

    /// <returns>What was done.</returns>
    public static async Task<Step> InAsync(
        NpgsqlTransaction transaction, long id, DateTime now, CancellationToken cancel)
    {
        var seen = await transaction.FindAsync<SponsorshipRow>(SponsorshipSql.Find, new { id }, cancel);
        if (seen is null) return Step.None;
        await transaction.ListAsync<string>(AccountSql.LockMany, new { emails = new[] { seen.Email } }, cancel);
        await transaction.FindAsync<long?>(SponsorshipSql.Lock, new { id }, cancel);
        var sponsorship = await transaction.AskAsync<SponsorshipRow>(SponsorshipSql.Find, new { id }, cancel);
        var isClosing = await FundFacts.IsClosingAsync(transaction, sponsorship.Email, cancel);
        await transaction.FindAsync<string>(DunningSql.LockTotals, new { email = sponsorship.Email }, cancel);
        var fund = await transaction.AskAsync<decimal>(FundSql.Lock, null, cancel);
        var step = Decide(new Facts(sponsorship, isClosing, fund), now);
        if (step == Step.Pay) await PayAsync(transaction, sponsorship, now, cancel);
        else if (step == Step.Wait) await transaction.ExecuteAsync(SponsorshipSql.SetShort, new { id, now }, cancel);
        else if (step == Step.End) await transaction.ExecuteAsync(SponsorshipSql.End, new { id, now }, cancel);
        return step;
    }

    static async Task PayAsync(
        NpgsqlTransaction transaction, SponsorshipRow sponsorship, DateTime now, CancellationToken cancel)
    {
        var payment = await RecordPayment.InAsync(transaction, sponsorship.Email, sponsorship.Amount, "solidarity",
            string.Create(CultureInfo.InvariantCulture, $"{GrantMoney.Note}, month {sponsorship.Months + 1}"), Actor,
            now, cancel);
        await transaction.ExecuteAsync(FundSql.AddMonth,
            new { payment, sponsorship = sponsorship.Id, month = sponsorship.Months }, cancel);
    }
}
