using System.Globalization;
using Capsul.Foundation;
using Capsul.Hub.Storage;
using Capsul.Postgres;

namespace Capsul.Hub.Features.Dunning;

/// <summary>
/// Adds a step to the table, after another one. Those that come later get other numbers, and accounts go along with
/// them: nobody has taken the new step, so nobody skips its email. What makes no sense is refused by the database.
/// </summary>
public static class AddStep
{
    public const int MostSteps = 20;

    /// <summary>What is sent with an email that is nothing else.</summary>
    public static readonly IReadOnlyList<string> Templates = ["low_balance", "used_up", "last_notice"];

    public static readonly IReadOnlyList<string> Actions = ["mail", "stop", "delete"];

    /// <summary>As typed.</summary>
    /// <param name="Behind">The number of the step before it; 0: it is the first; empty: it is the last.</param>
    /// <param name="Action">mail, stop or delete.</param>
    /// <param name="Template">Of a mail; empty: as its runway says.</param>
    /// <param name="Runway">Hours; empty: 0.</param>
    /// <param name="After">Hours; empty: 0.</param>
    public sealed record Input(string? Behind, string? Action, string? Template, string? Runway, string? After);

    /// <param name="MoveUp">Numbers of the steps that get the next one, the last first.</param>
    public sealed record Plan(DunningStepRow Step, IReadOnlyList<short> MoveUp);

    public static Outcome<Plan> Decide(Input input, DunningTable table)
    {
        if (table.Steps.Count >= MostSteps)
            return new Problem(ProblemKind.Conflict, $"There are {MostSteps} steps already, and no more are possible.");
        var numbers = table.Steps.Select(s => s.Step).ToHashSet();
        if (FindPlace(input.Behind, numbers) is not { } behind)
            return Wrong("Behind", "Choose the step after which it comes.");
        if (ChangeStep.Decide(input.Runway, input.After).Refused(out var problem, out var hours)) return problem;
        var (runway, after) = (hours.Runway ?? 0, hours.After ?? 0);
        if (!Actions.Contains(input.Action, StringComparer.Ordinal))
            return Wrong("Action", "Choose what happens: mail, stop or delete.");
        if (TemplateOf(input, runway) is not { } template)
            return Wrong("Template", "Choose an email: low_balance, or, when nothing is left, used_up or last_notice.");
        // The first number that nobody needs.
        var free = Enumerable.Range(behind + 1, MostSteps + 1).First(n => !numbers.Contains((short)n));
        if (free > MostSteps) return Squeezed;
        return new Plan(new DunningStepRow((short)(behind + 1), input.Action!, template, runway, after),
            [.. Enumerable.Range(behind + 1, free - behind - 1).Reverse().Select(n => (short)n)]);
    }

    static Problem Squeezed => new(ProblemKind.Conflict,
        $"The last step has the number {MostSteps}, and there is no higher one. Add the step further up.")
    { Field = "Behind" };

    static short? FindPlace(string? behind, HashSet<short> numbers) =>
        string.IsNullOrWhiteSpace(behind) ? numbers.DefaultIfEmpty((short)0).Max()
        : short.TryParse(behind.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && (number == 0 || numbers.Contains(number)) ? number : null;

    /// <summary>An email that says that nothing is left is sent when that is true.</summary>
    static string? TemplateOf(Input input, int runway) => (input.Action, input.Template?.Trim()) switch
    {
        ("stop", _) => "stopped",
        ("delete", _) => "deleted",
        (_, null or "") => runway > 0 ? "low_balance" : "used_up",
        (_, "low_balance") => "low_balance",
        (_, var other) => runway == 0 && Templates.Contains(other, StringComparer.Ordinal) ? other : null,
    };

    static Problem Wrong(string field, string sentence) => new(ProblemKind.Invalid, sentence) { Field = field };

    /// <returns>Its number.</returns>
    public static Task<Outcome<int>> RunAsync(Db db, string actor, Input input, CancellationToken cancel) =>
        db.DecideAsync<int>(async transaction =>
        {
            await transaction.AskAsync<string>(DunningPageSql.LockSteps, null, cancel);
            var table = new DunningTable(
                await transaction.ListAsync<DunningStepRow>(DunningSql.Steps, null, cancel));
            if (Decide(input, table).Refused(out var problem, out var plan)) return problem;
            foreach (var step in plan.MoveUp)
                await transaction.ExecuteAsync(DunningPageSql.MoveUp, new { step }, cancel);
            var added = plan.Step;
            await transaction.ExecuteAsync(DunningPageSql.Add, new
            {
                step = added.Step,
                action = added.Action,
                template = added.Template,
                runway = added.RunwayHours,
                after = added.AfterHours,
            }, cancel);
            await transaction.AuditAsync(actor, "add_dunning_step", $"{added.Step}", $"{added.Action}, "
                + $"{added.Template}, runway {added.RunwayHours}, after {added.AfterHours} hours", cancel);
            return added.Step;
        }, cancel);
}
