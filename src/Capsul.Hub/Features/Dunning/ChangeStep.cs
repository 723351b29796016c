using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Dunning;

/// <summary>
/// Changes when a step of the table is taken, or removes it. What makes no sense is refused by the database: nothing is
/// stopped or deleted without an email when nothing is left, and a day after it.
/// </summary>
public static class ChangeStep
{
    public const int MostHours = 8760;

    /// <summary>Hours; null: as they are.</summary>
    public sealed record Plan(int? Runway, int? After);

    public static Outcome<Plan> Decide(string? runway, string? after)
    {
        if (!Parse(runway, out var left)) return Wrong("Runway");
        return Parse(after, out var wait) ? new Plan(left, wait) : Wrong("After");
    }

    static Problem Wrong(string field) =>
        new(ProblemKind.Invalid, $"Give a number of hours from 0 to {MostHours}.") { Field = field };

    static bool Parse(string? text, out int? hours)
    {
        hours = int.TryParse(text?.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var n) ? n : null;
        return string.IsNullOrWhiteSpace(text) || hours is <= MostHours;
    }

    public static Task<Outcome<int>> RunAsync(
        Db db, string actor, int step, string? runway, string? after, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            if (Decide(runway, after).Refused(out var problem, out var plan)) return problem;
            if (await transaction.ExecuteAsync(
                DunningPageSql.Change, new { step, runway = plan.Runway, after = plan.After }, cancel) == 0)
                return NotFound(step);
            await transaction.AuditAsync(actor, "change_dunning_step", $"{step}",
                $"runway {plan.Runway}, after {plan.After} hours", cancel);
            return step;
        }, cancel);

    public static Task<Outcome<int>> RemoveAsync(Db db, string actor, int step, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            if (await transaction.ExecuteAsync(DunningPageSql.Remove, new { step }, cancel) == 0)
                return NotFound(step);
            await transaction.AuditAsync(actor, "remove_dunning_step", $"{step}", "", cancel);
            return step;
        }, cancel);

    static Problem NotFound(int step) => new(ProblemKind.NotFound, $"There is no step {step}.");
}
