using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.PriceLevels;

/// <summary>An operator offers a price level, or retires one. A level is never changed.</summary>
public static class ChangeLevels
{
    const int MaxNameChars = 40, Least = 1, Most = 1000;

    /// <param name="Percent">Of the standard price, as typed.</param>
    public sealed record Input(string? Name, string? Percent);

    public sealed record Plan(string Name, int Percent);

    public static Outcome<Plan> Decide(Input input)
    {
        var name = string.Join(' ', (input.Name ?? "").Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        if (name.Length is 0 or > MaxNameChars || name.Any(char.IsControl)
            || name.Equals(ChooseLevel.Standard, StringComparison.OrdinalIgnoreCase))
            return Wrong("Name",
                $"Enter a name of at most {MaxNameChars} characters, such as supported, and not standard.");
        return int.TryParse(input.Percent?.Trim().TrimEnd('%').Trim(), NumberStyles.None,
            CultureInfo.InvariantCulture, out var percent) && percent is >= Least and <= Most
            ? new Plan(name, percent)
            : Wrong("Percent", $"Enter a whole number of percent from {Least} to {Most}.");
    }

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <returns>Its number.</returns>
    public static Task<Outcome<long>> AddAsync(
        Db db, string actor, Input input, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<long>(async transaction =>
        {
            if (Decide(input).Refused(out var problem, out var plan)) return problem;
            var id = await transaction.AskAsync<long>(PriceLevelSql.Add,
                new { plan.Name, plan.Percent, now = time.GetUtcNow().UtcDateTime }, cancel);
            await transaction.AuditAsync(actor, "add_price_level", string.Create(
                CultureInfo.InvariantCulture, $"price level {id}"), $"{plan.Name}, {plan.Percent}%", cancel);
            return id;
        }, cancel);

    /// <summary>Nobody chooses it any more; who has it keeps it.</summary>
    /// <returns>Its name.</returns>
    public static Task<Outcome<string>> RetireAsync(
        Db db, string actor, long id, TimeProvider time, CancellationToken cancel) =>
        db.DecideAsync<string>(async transaction =>
        {
            if (await transaction.FindAsync<string>(
                PriceLevelSql.Retire, new { id, now = time.GetUtcNow().UtcDateTime }, cancel) is not { } name)
                return new Problem(ProblemKind.NotFound, "There is no such price level that is offered.");
            await transaction.AuditAsync(actor, "retire_price_level", string.Create(
                CultureInfo.InvariantCulture, $"price level {id}"), name, cancel);
            return name;
        }, cancel);
}
