using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Features.Billing;
using Capsul.Hub.Features.Mails;
using Capsul.Hub.Storage;
using Capsul.Hub.Web;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Sizes;

/// <summary>
/// Announces what a size costs from a date on, for the VMs that exist, too. A line is added in the same transaction as
/// the emails to those whose price rises, so each is told once, and nobody of a price that is not there.
/// </summary>
public static class SetPrice
{
    /// <summary>A price that rises is announced this long before to those who pay it.</summary>
    public static readonly TimeSpan Notice = TimeSpan.FromDays(7);

    /// <summary>Further ahead is a typo.</summary>
    static readonly TimeSpan Furthest = TimeSpan.FromDays(3660);

    /// <summary>Dollars a month; what is larger is a typo.</summary>
    const decimal Most = 99_999;

    static readonly string[] DateFormats = ["yyyy-MM-dd", "yyyy-MM-dd HH:mm", "yyyy-MM-ddTHH:mm", "yyyy-MM-ddTHH:mmZ"];

    /// <param name="Dollars">As typed: a month, with a point.</param>
    /// <param name="From">As typed: a day, or a day and a time, in UTC; empty: from now on.</param>
    public sealed record Input(string? Size, string? Dollars, string? From);

    /// <summary>The same, read.</summary>
    public sealed record Plan(decimal Dollars, DateTime From);

    /// <summary>What was typed, or what is wrong with it.</summary>
    public static Outcome<Plan> Read(Input input, int decimals, DateTime now)
    {
        if (!decimal.TryParse(
            input.Dollars?.Trim(), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var dollars)
            || dollars > Most)
            return Wrong("Dollars", decimals == 0 ? $"Enter a whole price a month from 0 to {Most}."
                : $"Enter a price a month from 0 to {Most}, such as 7.50, with a point.");
        if (dollars != decimal.Round(dollars, decimals))
            return Wrong("Dollars", decimals == 0 ? "Enter a whole amount."
                : $"A price has at most {Show.Count(decimals, "decimal place", "decimal places")}.");
        if (string.IsNullOrWhiteSpace(input.From)) return new Plan(dollars, now);
        return DateTime.TryParseExact(input.From.Trim(), DateFormats, CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out var from)
            ? new Plan(dollars, from)
            : Wrong("From", "Enter a day, such as 2027-01-31, or a day and a time in UTC, such as 2027-01-31 12:00.");
    }

    /// <summary>The refusal, or null.</summary>
    /// <param name="plan">What was typed.</param>
    /// <param name="facts">What it costs before, and who pays it.</param>
    /// <param name="now">The time.</param>
    /// <param name="size">Its name.</param>
    public static Problem? Decide(Plan plan, PriceFactsRow facts, DateTime now, string size = "") =>
        plan.From < now ? Wrong("From", "That time has passed. A price can start now or later.")
        : plan.From > now + Furthest ? Wrong("From", "That is more than ten years ahead.")
        : facts.Same is not null ? Wrong("From", "There is already a price from that time. Withdraw it first.")
        : facts.Before == plan.Dollars ? Wrong("Dollars", "That is already its price at that time.")
        : facts.Before < plan.Dollars && facts.Vms > 0 && plan.From < now + Notice
            ? Wrong("From", (size == Prices.FurtherAddress
                ? Show.Count(facts.Vms, "further address is in use", "further addresses are in use")
                : $"{Show.Count(facts.Vms, "capsul has", "capsuls have")} this size")
                + $", and the price rises: announce it at least {Notice.TotalDays} days ahead.")
        : null;

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <summary>What was done.</summary>
    /// <param name="Told">Accounts that get an email.</param>
    public sealed record Done(string Size, decimal Dollars, DateTime From, int Told)
    {
        public override string ToString() => $"{Size} costs {Show.Dollars(Dollars)} a month from {Show.Time(From)}. "
            + (Told == 0 ? "Nobody is emailed." : $"{Show.Count(Told, "account is", "accounts are")} emailed.");
    }

    public static Task<Outcome<Done>> RunAsync(
        Db db, string actor, Input input, Settings settings, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<Done>(async transaction =>
        {
            var now = time.GetUtcNow().UtcDateTime;
            if (Read(input, settings.Currency.Decimals, now).Refused(out var problem, out var plan)) return problem;
            var size = input.Size ?? "";
            if (size == Prices.FurtherAddress)
                await transaction.ListAsync<long>(PriceSql.LockLines, new { size }, cancel);
            else if (await transaction.FindAsync<string>(SizeSql.Lock, new { id = size }, cancel) is null)
                return Wrong("Size", size.Length == 0 ? "Choose a size." : $"There is no size called {size}.");
            var facts = await transaction.AskAsync<PriceFactsRow>(
                PriceSql.Facts, new { size, from = plan.From }, cancel);
            if (Decide(plan, facts, now, size) is { } refusal) return refusal;
            await transaction.AskAsync<long>(
                PriceSql.Add, new { size, from = plan.From, dollars = plan.Dollars, now }, cancel);
            IReadOnlyList<SizeCustomerRow> told = facts.Before < plan.Dollars
                ? await transaction.ListAsync<SizeCustomerRow>(PriceSql.Customers, new { size }, cancel) : [];
            await new Outbox(time).EnqueueManyAsync(transaction,
                [.. told.Select(c => PriceMail.Rise(c, size, facts.Before!.Value, plan, settings))], cancel);
            await transaction.AuditAsync(actor, "set_price", size, string.Create(CultureInfo.InvariantCulture,
                $"{plan.Dollars} from {plan.From:yyyy-MM-dd HH:mm:ss}, {told.Count} told"), cancel);
            return new Done(size, plan.Dollars, plan.From, told.Count);
        }, cancel);
}
