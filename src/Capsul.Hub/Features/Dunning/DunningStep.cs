using Capsul.Hub.Web;

namespace Capsul.Hub.Features.Dunning;

/// <summary>A step of the table <c>dunning_steps</c>.</summary>
/// <param name="Action">mail, stop or delete.</param>
/// <param name="Template">The email that is sent with it.</param>
/// <param name="RunwayHours">It is taken when the balance lasts no longer; 0: when nothing is left.</param>
/// <param name="AfterHours">And not before the mail server has had the email of the step before for so long.</param>
public sealed record DunningStepRow(short Step, string Action, string Template, int RunwayHours, int AfterHours)
{
    public bool Stops => Action is "stop" or "delete";

    public string Title => Action switch
    {
        "stop" => "Stop the capsuls; their disks are kept",
        "delete" => "Delete the capsuls",
        _ => "Email",
    };

    public string When => RunwayHours == 0 ? "Nothing is left" : $"The balance lasts {Hours(RunwayHours)} or less";

    /// <summary>A number of hours, in days if it is whole ones.</summary>
    public static string Hours(int hours) => hours > 24 && hours % 24 == 0
        ? Show.Count(hours / 24, "day", "days") : Show.Count(hours, "hour", "hours");
}

/// <summary>The steps in their order, and what they mean for an account.</summary>
public sealed record DunningTable(IReadOnlyList<DunningStepRow> Steps)
{
    public DunningStepRow? Next(short? step) => Steps.FirstOrDefault(s => s.Step > (step ?? 0));

    /// <summary>The step itself, or the last one before it if it was removed from the table.</summary>
    public DunningStepRow? At(short? step) => Steps.LastOrDefault(s => s.Step <= (step ?? 0));

    /// <summary>Whether an account that has taken this step has its VMs stopped, or deleted.</summary>
    public bool IsStopped(short? step) => Steps.Any(s => s.Stops && s.Step <= (step ?? 0));

    public bool IsDeleted(short? step) => Steps.Any(s => s.Action == "delete" && s.Step <= (step ?? 0));

    /// <summary>
    /// What happens after a step unless the account pays, and after how many hours at the earliest: counted from the
    /// step, or, if money is left, from when none is.
    /// </summary>
    public (DunningStepRow Step, int Hours)? Outlook(DunningStepRow? after, bool isLeft)
    {
        var later = Steps.Where(s => s.Step > (after?.Step ?? 0)).ToList();
        var index = later.FindIndex(s => s.Stops);
        if (index < 0) return null;
        var counted = later.Take(index + 1);
        if (isLeft) counted = counted.Where(s => s.RunwayHours == 0).Skip(1);
        return (later[index], counted.Sum(s => s.AfterHours));
    }

    /// <summary>The same in a sentence; empty: nothing happens.</summary>
    /// <param name="after">The last step taken.</param>
    /// <param name="isLeft">The account has money.</param>
    /// <param name="now">The time.</param>
    /// <param name="since">For how long its email has been delivered.</param>
    public string Describe(DunningStepRow? after, bool isLeft, DateTime now, TimeSpan since)
    {
        if (Outlook(after, isLeft) is not var (step, hours)) return "";
        var what = step.Action == "stop" ? "stopped" : "deleted with their disks";
        if (isLeft)
            return "When nothing is left you will get another email. Unless you add money then, your capsuls are "
                + $"{what} {DunningStepRow.Hours(hours)} after that email.";
        var left = TimeSpan.FromHours(hours) - since is { Ticks: > 0 } some ? some : TimeSpan.Zero;
        return $"Unless you add money, your capsuls are {what} in "
            + $"{DunningStepRow.Hours((int)Math.Ceiling(left.TotalHours))} (on {Show.Time(now + left)}, or later).";
    }
}
