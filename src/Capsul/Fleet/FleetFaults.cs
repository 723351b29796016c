using Capsul.Spoke.Hypervisor;

namespace Capsul.Fleet;

/// <summary>
/// What goes wrong in a fleet, drawn from a seed: a share of the hypervisor's calls misbehaves in one of the ways of
/// <see cref="FaultKind"/>, and Spokes are ended and started again. Threads take turns in drawing, so a seed gives the
/// same frequencies, not the same sequence.
/// </summary>
public sealed class FleetFaults(double rate, int seed, FleetCounts counts)
{
    static readonly TimeSpan Slow = TimeSpan.FromSeconds(1), Hang = TimeSpan.FromSeconds(5);

    /// <summary>At a rate of 0.01 a Spoke lives for one hour on average.</summary>
    const double RestartsPerHour = 100;

    readonly Lock gate = new();
    readonly Random random = new(seed);

    public bool Any => rate > 0;

    public Fault? Draw(Verb verb)
    {
        FaultKind kind;
        lock (gate)
        {
            if (random.NextDouble() >= rate) return null;
            kind = (FaultKind)random.Next(Enum.GetValues<FaultKind>().Length);
        }
        // Failing for good is an answer that only a person can change: no VM of a fleet has one.
        if (kind == FaultKind.FailFinal) kind = FaultKind.Fail;
        counts.CountFault();
        return new Fault(kind, By: kind == FaultKind.Hang ? Hang : Slow);
    }

    /// <summary>How long a Spoke lives this time.</summary>
    public TimeSpan DrawLife()
    {
        if (!Any) return Timeout.InfiniteTimeSpan;
        lock (gate)
        {
            var hours = -Math.Log(1 - random.NextDouble()) / (rate * RestartsPerHour);
            return TimeSpan.FromHours(Math.Min(hours, 24));
        }
    }
}
