using Capsul.Foundation;
using Capsul.Hub.Features.Accounts;
using Capsul.Hub.Features.Vms;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.PriceLevels;

/// <summary>
/// A person chooses what they pay: one of the levels, or the standard price. It counts from now on, also for the
/// capsuls that they have: charged time before keeps its price.
/// </summary>
public static class ChooseLevel
{
    /// <summary>The name of no level.</summary>
    public const string Standard = "standard";

    /// <summary>Choices of an account in a day: each cuts what is charged.</summary>
    public const int MaxADay = 10;

    static readonly TimeSpan Day = TimeSpan.FromDays(1);

    /// <param name="Level">That was found; null if none was asked for.</param>
    /// <param name="IsBehind">A price of a size has just come into force, and not all capsuls have it yet.</param>
    public sealed record Facts(bool Exists, bool IsAsked, PriceLevelRow? Level, ChosenLevelRow Now, bool IsBehind);

    /// <summary>The refusal, or null.</summary>
    public static Problem? Decide(Facts facts) => facts switch
    {
        { Exists: false } => new(ProblemKind.NotFound, "There is no such account.") { Field = "Email" },
        { IsAsked: true, Level: null or { Retired: not null } } => Wrong("This price level is not offered."),
        { IsBehind: true } => new(ProblemKind.Conflict, "Prices are changing at this moment. Try again in a minute."),
        _ when facts.Level?.Id == facts.Now.Level => Wrong("That is what you pay already."),
        { Now.Recent: >= MaxADay } => new(ProblemKind.RateLimited,
            $"A price level can be chosen {MaxADay} times in a day. Choose tomorrow.")
        { Field = "Level" },
        _ => null,
    };

    static Problem Wrong(string sentence) => new(ProblemKind.Invalid, sentence) { Field = "Level" };

    /// <param name="level">Null: the standard price.</param>
    /// <returns>What is paid from now on, in percent of the standard price.</returns>
    public static Task<Outcome<int>> RunAsync(
        Db db, string actor, string? account, long? level, string why, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            var email = (account ?? "").Trim().ToLowerInvariant();
            var now = time.GetUtcNow().UtcDateTime;
            var found = await transaction.ListAsync<string>(
                AccountSql.LockMany, new { emails = new[] { email } }, cancel);
            var chosen = level is null ? null
                : await transaction.FindAsync<PriceLevelRow>(PriceLevelSql.Find, new { id = level }, cancel);
            var facts = new Facts(found.Count > 0, level is not null, chosen,
                await transaction.AskAsync<ChosenLevelRow>(
                    PriceLevelSql.Chosen, new { email, since = now - Day }, cancel),
                await LevelVms.LockAsync(transaction, email, now, cancel));
            if (Decide(facts) is { } problem) return problem;
            var percent = chosen?.Percent ?? 100;
            await transaction.ExecuteAsync(PriceLevelSql.Choose, new { email, level, now }, cancel);
            await LevelVms.RunAsync(transaction, email, percent, now, cancel);
            await transaction.AuditAsync(actor, "choose_price_level", email,
                $"{chosen?.Name ?? Standard}, {percent}%{(why.Length > 0 ? $"; {why}" : "")}", cancel);
            return percent;
        }, cancel);
}
