using Capsul.Hub.Features.Billing;

namespace Capsul.Hub.Features.Dunning;

/// <summary>
/// Which step an account takes. Steps are taken one at a time and none is left out: each waits until the mail server
/// has the email of the one before, and for as long as the table says after that, by the clock that stands still while
/// no Hub is at work. An account that has paid goes back to the last step that still applies, or to none.
/// </summary>
public static class DecideDunning
{
    /// <summary>What is known of an account, read while its totals are locked.</summary>
    /// <param name="Step">The last one taken; 0: it went back to none; null: none.</param>
    /// <param name="Told">By the clock: since when the person knows of it; null: the email is not handed over.</param>
    /// <param name="Charged">Something is charged now: time in which hosts are silent takes nobody further.</param>
    /// <param name="Held">An operator keeps the account from going further, or all of them.</param>
    /// <param name="Clock">Seconds for which Hubs have been at work.</param>
    public sealed record Facts(BalanceRow Balance, short? Step, long? Told, bool Charged, bool Held, long Clock);

    /// <summary>Where the account is to be.</summary>
    /// <param name="Step">Null: on no step.</param>
    /// <param name="Forward">The step is taken now; otherwise the account goes back to it.</param>
    public sealed record Move(DunningStepRow? Step, bool Forward);

    const int SecondsPerHour = 3600;

    /// <summary>Who goes back to no step is not emailed again before this: VMs may come and go in a script.</summary>
    public const int QuietSeconds = 24 * SecondsPerHour;

    /// <summary>Null: it stays where it is.</summary>
    public static Move? Decide(Facts facts, DunningTable table)
    {
        if (facts.Step is { } taken and > 0 && table.At(taken) is var at
            && (at is null || !Holds(at, facts.Balance)))
            return new Move(table.Steps.LastOrDefault(s => s.Step <= taken && Holds(s, facts.Balance)), Forward: false);
        if (facts.Held || !facts.Charged) return null;
        return table.Next(facts.Step) is { } next && Holds(next, facts.Balance) && HasWaited(next, facts)
            ? new Move(next, Forward: true) : null;
    }

    static bool HasWaited(DunningStepRow next, Facts facts) => facts.Step is null
        || facts.Told is { } told && facts.Clock - told
            >= (facts.Step == 0 ? QuietSeconds : (long)next.AfterHours * SecondsPerHour);

    /// <summary>An account without VMs has nothing to lose.</summary>
    static bool Holds(DunningStepRow step, BalanceRow balance) => balance.RunwayDays is { } days
        && (step.RunwayHours == 0 ? balance.Balance <= 0 : days * 24 <= step.RunwayHours);
}
