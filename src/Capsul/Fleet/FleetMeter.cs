using System.Globalization;
using System.Text.Json.Serialization;
using Capsul.Hub.Leadership;
using Capsul.Postgres;

namespace Capsul.Fleet;

/// <summary>
/// A fleet at one moment. Rates are a second, over the time since the moment before; CPU in % of a core.
/// </summary>
/// <param name="Cuts">Breaks of connections that the Hub had accepted.</param>
/// <param name="Reported">VMs that were reported to be on; counted until all were.</param>
/// <param name="HubCpu">Null: it runs on another machine.</param>
/// <param name="ServerCpu">Of the whole PostgreSQL server; null: it runs on another machine.</param>
/// <param name="OwnCpu">Of this process.</param>
public sealed record FleetFigures(
    double Seconds, int Spokes, int Vms, int Connected, long Connects, long Breaks, long Cuts, int Reported,
    int Changed, long Problems, long Faults, long Restarts, double WantedChanges, double? HubCpu, double? HubMb,
    double? ServerCpu, double OwnCpu, double OwnMb, double WalKb, double MultiXacts, double Commits)
{
    public bool Settled => Connected == Spokes && Reported == Vms;

    /// <summary>Every figure with its name and unit, for people.</summary>
    [JsonIgnore]
    public IReadOnlyList<(string Name, string Value)> Lines =>
    [
        ("time", Text(Seconds, "s")), ("Spokes connected", $"{Connected} of {Spokes}"),
        ("connects", Connects.ToString(CultureInfo.InvariantCulture)),
        ("breaks", Breaks.ToString(CultureInfo.InvariantCulture)),
        ("of accepted connections", Cuts.ToString(CultureInfo.InvariantCulture)),
        ("VMs reported", $"{Reported} of {Vms}"),
        ("VMs that changed state", Changed.ToString(CultureInfo.InvariantCulture)),
        ("failed rounds", Problems.ToString(CultureInfo.InvariantCulture)),
        ("injected faults", Faults.ToString(CultureInfo.InvariantCulture)),
        ("restarted Spokes", Restarts.ToString(CultureInfo.InvariantCulture)),
        ("wanted changes", Text(WantedChanges, "/s")), ("Hub CPU", Text(HubCpu, "%")),
        ("Hub memory", Text(HubMb, "MiB")), ("PostgreSQL CPU", Text(ServerCpu, "%")),
        ("fleet CPU", Text(OwnCpu, "%")), ("fleet memory", Text(OwnMb, "MiB")), ("WAL", Text(WalKb, "KiB/s")),
        ("MultiXacts", Text(MultiXacts, "/s")), ("commits", Text(Commits, "/s")),
    ];

    /// <summary>One line for a terminal.</summary>
    [JsonIgnore]
    public string Line => string.Create(CultureInfo.InvariantCulture,
        $"{Seconds,6:0} s  Spokes {Connected}/{Spokes} ({Connects} connects, {Breaks} breaks)  VMs {Reported}/{Vms}  "
        + $"wanted {WantedChanges:0.0}/s  CPU Hub {Text(HubCpu, "%")} PostgreSQL {Text(ServerCpu, "%")} "
        + $"fleet {OwnCpu:0.0} %  Hub {Text(HubMb, "MiB")}  WAL {WalKb:0} KiB/s  MultiXacts {MultiXacts:0.0}/s  "
        + $"commits {Commits:0}/s");

    static string Text(double? value, string unit) =>
        value is { } known ? string.Create(CultureInfo.InvariantCulture, $"{known:0.0} {unit}") : "-";
}

/// <summary>Takes the figures of a fleet.</summary>
public sealed class FleetMeter(Db db, FleetPlan plan, FleetCounts counts, TimeProvider time)
{
    sealed record Sample(long At, FleetCountersRow Counters, ProcessCost? Hub, ProcessCost? Server, ProcessCost Own);

    readonly long began = time.GetTimestamp();
    Sample? last;
    FleetStateRow state = new(0, 0, 0);

    /// <summary>Why connections broke.</summary>
    public IReadOnlyList<KeyValuePair<string, long>> Reasons => counts.Reasons;

    /// <param name="countVms">Read every VM: while it matters.</param>
    public async Task<FleetFigures> TakeAsync(bool countVms, CancellationToken cancel)
    {
        if (countVms) state = await db.AskAsync<FleetStateRow>(FleetSql.State, null, cancel);
        var counters = await db.AskAsync<FleetCountersRow>(FleetSql.Counters, null, cancel);
        var hub = await FindHubAsync(db, cancel) is { } pid ? ProcessCost.Of(pid) : null;
        var now = new Sample(time.GetTimestamp(), counters, hub,
            ProcessCost.OfServer(counters.Backend), ProcessCost.Of(Environment.ProcessId)!);
        var figures = Between(last ?? now, now);
        last = now;
        return figures;
    }

    FleetFigures Between(Sample before, Sample now)
    {
        var seconds = Math.Max(time.GetElapsedTime(before.At, now.At).TotalSeconds, 0.001);
        var (was, counters) = (before.Counters, now.Counters);
        return new FleetFigures(
            time.GetElapsedTime(began).TotalSeconds, plan.Spokes, plan.Vms, counts.Connected, counts.Connects,
            counts.Breaks, counts.Cuts, state.Reported, state.Changed, counts.Problems, counts.Faults, counts.Restarts,
            (counters.Generations - was.Generations) / seconds, Percent(before.Hub, now.Hub, seconds),
            now.Hub?.ResidentMb, Percent(before.Server, now.Server, seconds),
            Percent(before.Own, now.Own, seconds) ?? 0, now.Own.ResidentMb,
            (counters.Wal - was.Wal) / 1024.0 / seconds, (counters.MultiXacts - was.MultiXacts) / seconds,
            (counters.Commits - was.Commits) / seconds);
    }

    /// <summary>0 for a process that was replaced by another in between.</summary>
    static double? Percent(ProcessCost? before, ProcessCost? now, double seconds) =>
        before is null || now is null ? null : 100 * Math.Max(0, now.CpuSeconds - before.CpuSeconds) / seconds;

    /// <summary>The process of the active Hub; null if there is none, or it runs on another machine.</summary>
    public static async Task<int?> FindHubAsync(Db db, CancellationToken cancel)
    {
        var words = (await db.FindSeatAsync(cancel))?.Holder.Split(' ') ?? [];
        return words is [var machine, "pid", var pid] && machine == Environment.MachineName
            ? int.Parse(pid, CultureInfo.InvariantCulture) : null;
    }
}
