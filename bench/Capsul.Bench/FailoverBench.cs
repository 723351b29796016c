namespace Capsul.Bench;

/// <summary>How often each fault happens; the database is frozen and killed once each.</summary>
sealed record FailoverPlan(int Kills, int Freezes, int Cuts);

/// <summary>
/// Two Hubs on one database, and Spokes with VMs that run. The active Hub is killed, frozen, or cut off from the
/// database without a word, while people pay and create; an operation is due at that moment, and the clock runs until
/// the other Hub has made its next step. Then the fault ends, and whatever was under way goes on. Last, the database
/// itself is frozen, and killed. Afterwards everything that was acknowledged must be there exactly once.
/// </summary>
static class FailoverBench
{
    const double MaxKillSeconds = 3, MaxFreezeSeconds = 15;

    public static async Task<int> RunAsync(bool check, FailoverPlan plan, CancellationToken cancel)
    {
        var folder = HubRun.MakeFolder();
        try
        {
            await using var run = await FailoverRun.StartAsync(folder, cancel);
            var kills = await RepeatAsync(plan.Kills, n => run.FaultAsync(Fault.Kill, n));
            var freezes = await RepeatAsync(plan.Freezes, n => run.FaultAsync(Fault.Freeze, n));
            var cuts = await RepeatAsync(plan.Cuts, n => run.FaultAsync(Fault.Cut, n));
            var frozen = await run.FreezeDatabaseAsync();
            var killed = await run.KillDatabaseAsync();
            var (acknowledged, wrong) = await run.CheckAsync();
            double[] slow = [.. freezes, .. cuts, frozen, killed];
            return Figures.Verdict(check,
                Figures.Median(kills) <= MaxKillSeconds && slow.Max() <= MaxFreezeSeconds && wrong == 0,
                $"failover: {plan.Kills} kills to the next step median {Figures.Text(Figures.Median(kills))} s (bar "
                + $"{MaxKillSeconds}; at most {Figures.Text(kills.Max())} s), {plan.Freezes} freezes at most "
                + $"{Figures.Text(freezes.Max())} s and {plan.Cuts} cuts at most {Figures.Text(cuts.Max())} s (bar "
                + $"{MaxFreezeSeconds}); database killed {Figures.Text(killed)} s, frozen for "
                + $"{FailoverRun.Frozen.TotalSeconds} s {Figures.Text(frozen)} s after (bar {MaxFreezeSeconds}); "
                + $"{wrong} of {acknowledged} acknowledged payments, creates and charges missing or double");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    static async Task<List<double>> RepeatAsync(int times, Func<int, Task<double>> act)
    {
        var seconds = new List<double>();
        for (var n = 1; n <= times; n++) seconds.Add(await act(n));
        return seconds;
    }
}
